"""The exceptions of the export, under the base of all of bertbundle's errors.

```
BertBundleError
├── CheckpointError          not a checkpoint we can read
└── ExportError              an export that cannot be finished
    ├── OutputNamesError     an exported format has other outputs than the source model
    ├── OutputShapeError     an output has another shape or dtype
    └── ToleranceError       an output differs by more than the stated tolerance
```
"""

from __future__ import annotations

from bertbundle.errors import BertBundleError

__all__ = ["CheckpointError", "ExportError", "OutputNamesError", "OutputShapeError", "ToleranceError"]


class CheckpointError(BertBundleError):
    """A source that is not a checkpoint we can read: says what was found and what would do.

    >>> issubclass(CheckpointError, BertBundleError)
    True
    """


class ExportError(BertBundleError):
    """An export that cannot be finished. Nothing is left behind.

    >>> [kind.__name__ for kind in ExportError.__subclasses__()]
    ['OutputNamesError', 'OutputShapeError', 'ToleranceError']
    """


class OutputNamesError(ExportError):
    """An exported format has other outputs than the source model.

    >>> issubclass(OutputNamesError, ExportError)
    True
    """


class OutputShapeError(ExportError):
    """An output of an exported format has another shape or dtype than the source model's.

    >>> issubclass(OutputShapeError, ExportError)
    True
    """


class ToleranceError(ExportError):
    """An output of an exported format differs from the source model's by more than the stated tolerance.

    >>> issubclass(ToleranceError, ExportError)
    True
    """
