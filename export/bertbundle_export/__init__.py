"""Export a Keras BERT to a bundle: a SavedModel and an ONNX model with everything a client needs to know."""

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.exporter import Exported, ExportOptions, export_bundle

__all__ = ["ExportOptions", "Exported", "LoadOptions", "export_bundle"]
