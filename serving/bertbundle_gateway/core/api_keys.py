"""API keys: who may send requests."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from pathlib import Path

from bertbundle import InputError
from bertbundle_gateway.core.errors import RequestError

__all__ = ["ApiKeys"]

_logger = logging.getLogger(__name__)
_CHECK_SECONDS = 1.0


class ApiKeys:
    """The keys in a file, one a line; empty lines and lines that begin with # are ignored.

    The file is read again when it changes. If it then cannot be read or has no key, the keys stay as they are.
    """

    def __init__(self, path: Path) -> None:
        """Read the keys.

        Raises:
            InputError: the file cannot be read, or has no key or an invalid one.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._digests = _read(path)
        self._next_check = time.monotonic() + _CHECK_SECONDS

    def authorize(self, authorization: str | None, api_key: str | None) -> None:
        """Check the key of a request, in time that does not depend on the key.

        Args:
            authorization: the header (or metadata) ``authorization``, ``Bearer KEY``.
            api_key: the header ``x-api-key``, used if there is no `authorization`.

        Raises:
            RequestError: UNAUTHENTICATED, there is no key or a wrong one.
        """
        key = _bearer(authorization) if authorization else (api_key or "")
        if not key:
            raise RequestError(
                "UNAUTHENTICATED", "API_KEY_MISSING", "Send an API key: authorization: Bearer KEY, or x-api-key: KEY."
            )
        self._reload()
        digest = _digest(key)
        # All keys are compared, and each in constant time.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise RequestError("UNAUTHENTICATED", "API_KEY_INVALID", "The API key is not valid.")

    def _reload(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _CHECK_SECONDS
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._digests, self._stamp = _read(self._path), stamp
                _logger.info("read %d API keys from the changed %s", len(self._digests), self._path)
        except InputError as error:
            _logger.error("keeping the current API keys: %s", error)


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"--api_keys_file {path} is not a text file: {error}.") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    invalid = [number for number, key in enumerate(keys, 1) if not (key.isascii() and key.isprintable()) or " " in key]
    if invalid or not keys:
        problem = f"key {invalid[0]} has other characters" if invalid else "it has no key"
        raise InputError(
            f"--api_keys_file {path}: {problem}. Write one key a line, of printable ASCII characters without spaces."
        )
    return tuple(_digest(key) for key in keys)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"--api_keys_file {path} cannot be read: {error.strerror}.")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
