"""The exceptions of the export, derived from the base class of all bertbundle errors.

```
BertBundleError
├── CheckpointError          the source is not a readable checkpoint
└── ExportError              the export failed
    ├── OutputNamesError     an exported format has different outputs from the source model
    ├── OutputShapeError     an output has a different shape or dtype
    └── ToleranceError       an output differs by more than the allowed tolerance
```
"""

from __future__ import annotations

from bertbundle.errors import BertBundleError

__all__ = ["CheckpointError", "ExportError", "OutputNamesError", "OutputShapeError", "ToleranceError"]


class CheckpointError(BertBundleError):
    """The source is not a readable checkpoint. The message says what was found and what was expected.

    >>> issubclass(CheckpointError, BertBundleError)
    True
    """


class ExportError(BertBundleError):
    """The export failed. It leaves no files behind.

    >>> [kind.__name__ for kind in ExportError.__subclasses__()]
    ['OutputNamesError', 'OutputShapeError', 'ToleranceError']
    """


class OutputNamesError(ExportError):
    """An exported format has different outputs from the source model.

    >>> issubclass(OutputNamesError, ExportError)
    True
    """


class OutputShapeError(ExportError):
    """An output of an exported format has a different shape or dtype from the source model's.

    >>> issubclass(OutputShapeError, ExportError)
    True
    """


class ToleranceError(ExportError):
    """An output of an exported format differs from the source model's by more than the allowed tolerance.

    >>> issubclass(ToleranceError, ExportError)
    True
    """
