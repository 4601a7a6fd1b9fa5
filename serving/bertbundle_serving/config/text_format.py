"""Read TensorFlow Serving's configuration files: protobuf messages in text form."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from bertbundle_serving.errors import ServeError

__all__ = ["read_text_file"]

M = TypeVar("M", bound=Message)

_PACKAGE = "bertbundle.serving_config."


def read_text_file(path: Path, message: M, what: str, *, secret: bool = False) -> M:
    """Fill a message from a file, and return it.

    Args:
        path: the file.
        message: an empty message of the type that the file holds.
        what: how an error names the file, for example the flag.
        secret: whether an error must not quote the file: it holds a private key.

    Raises:
        ServeError: the file cannot be read, is no text, or does not parse.
    """
    try:
        # -sig: Windows' editors begin a file with a mark.
        return text_format.Parse(path.read_text(encoding="utf-8-sig"), message)
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except text_format.ParseError as error:
        reason = _place(error) if secret else _reason(error)
    kind = message.DESCRIPTOR.name
    raise ServeError(f"cannot read {what} {path}: {reason}. It holds {kind} in protobuf's text form.")


def _reason(error: text_format.ParseError) -> str:
    return str(error).replace(_PACKAGE, "").rstrip(".")


def _place(error: Any) -> str:
    return f"{error.GetLine()}:{error.GetColumn()} is malformed"
