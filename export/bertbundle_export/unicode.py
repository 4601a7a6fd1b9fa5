"""Check that names can be written as UTF-8: Python also takes file names of other bytes."""

from __future__ import annotations

from bertbundle.errors import BertBundleError
from bertbundle_export.errors import CheckpointError

__all__ = ["check_unicode"]


def check_unicode(value: object, what: str, *, error: type[BertBundleError] = CheckpointError) -> None:
    """Check a path or another text that is written to the bundle, or passed to libraries that take UTF-8 only.

    Args:
        value: the path or text.
        what: what it is, for the message.
        error: the class of the exception.

    Raises:
        BertBundleError: it is not valid UTF-8; of the class `error`.
    """
    try:
        str(value).encode()
    except UnicodeEncodeError as problem:
        raise error(f"{what} {str(value)!a} is not valid UTF-8. Rename it.") from problem
