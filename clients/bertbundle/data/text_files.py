"""Read a text file whole, and say where it is invalid."""

from __future__ import annotations

from pathlib import Path

from bertbundle.errors import InputError

__all__ = ["check_byte_order_mark", "read_bytes", "read_text"]

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_bytes(path: str) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: it cannot be read, or it is empty.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data.strip():
        raise InputError(f"{path} is empty. Pass a file with texts.")
    return data


def check_byte_order_mark(name: str, data: bytes) -> None:
    """Check that data does not begin with the byte order mark of another encoding than UTF-8.

    Raises:
        InputError: it does; `name` says what the data is.
    """
    if encoding := _OTHER_BOMS.get(data[:2]):
        raise InputError(f"{name} is {encoding}, expected UTF-8: convert it, for example with iconv.")


def read_text(path: str, *, keep_line_ends: bool = False) -> str:
    """Return the content of a UTF-8 file, without its byte order mark and with LF instead of CRLF, or of CR alone.

    Args:
        path: the file.
        keep_line_ends: keep CRLF; a CSV file may have it within a text, whose characters are counted.

    Raises:
        InputError: as `read_bytes`, or it is not UTF-8.
    """
    data = read_bytes(path)
    check_byte_order_mark(path, data)
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line} is not UTF-8: {error.reason} (byte {error.object[error.start]:#04x}). Convert it "
            "first."
        ) from error
    if keep_line_ends:
        return text
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
