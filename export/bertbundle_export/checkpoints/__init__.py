"""Checkpoints: detect the format, describe the checkpoint, load it as a Keras model."""

from bertbundle_export.checkpoints.base import CheckpointFormat, Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.formats import CHECKPOINT_FORMATS
from bertbundle_export.checkpoints.loader import load_checkpoint
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format

__all__ = [
    "CHECKPOINT_FORMATS",
    "CheckpointFormat",
    "Description",
    "LoadOptions",
    "StateDict",
    "describe_checkpoint",
    "find_format",
    "load_checkpoint",
]
