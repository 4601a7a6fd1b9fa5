"""Export a Keras BERT to a bundle: a SavedModel and ONNX files, with the manifest and tokenizer that a client needs."""

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.errors import CheckpointError, ExportError, OutputNamesError, OutputShapeError, ToleranceError
from bertbundle_export.exporter import Exported, export_bundle
from bertbundle_export.options import ExportOptions
from bertbundle_export.tasks import HeadSpec

__all__ = [
    "CheckpointError",
    "ExportError",
    "ExportOptions",
    "Exported",
    "HeadSpec",
    "LoadOptions",
    "OutputNamesError",
    "OutputShapeError",
    "ToleranceError",
    "export_bundle",
]
