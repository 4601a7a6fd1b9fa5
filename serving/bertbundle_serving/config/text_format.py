"""Read protobuf messages in text format: the format of TensorFlow Serving's configuration files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from bertbundle_serving.errors import ServeError

__all__ = ["read_text_file"]

M = TypeVar("M", bound=Message)

_PACKAGE = re.compile(r"bertbundle\.\w+\.")


def read_text_file(path: Path, message: M, label: str, *, secret: bool = False) -> M:
    """Parse a file into a message and return the message.

    Args:
        path: the file.
        message: an empty message of the file's type.
        label: what error messages call the file, for example the flag.
        secret: whether the file contains a private key, so that error messages must not quote it.

    Raises:
        ServeError: the file cannot be read, is not UTF-8, or cannot be parsed.
    """
    try:
        # -sig: Windows editors write a byte order mark at the beginning.
        return text_format.Parse(path.read_text(encoding="utf-8-sig"), message)
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except text_format.ParseError as error:
        where = _position(error) if secret else _PACKAGE.sub("", str(error)).rstrip(".")
        reason = f"Error parsing text-format tensorflow.serving.{message.DESCRIPTOR.name}: {where}"
    expected = message.DESCRIPTOR.name
    raise ServeError(f"cannot read {label} {path}: {reason}. Expected: {expected} in protobuf text format.")


def _position(error: Any) -> str:
    return f"{error.GetLine()}:{error.GetColumn()} is malformed"
