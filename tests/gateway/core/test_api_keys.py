"""API keys in a file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from bertbundle import InputError
from bertbundle_gateway.core import api_keys
from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import RequestError


def write(path: Path, *lines: str) -> Path:
    """Write lines with a time that differs from that of the last write."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text("\n".join(lines), encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


@pytest.fixture(autouse=True)
def _check_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_CHECK_SECONDS", 0.0)


def test_keys(tmp_path: Path) -> None:
    """A key is accepted as a bearer token or as x-api-key; comments and empty lines are no keys."""
    keys = ApiKeys(write(tmp_path / "keys", "# ours", "", "first", " second "))
    keys.authorize("Bearer first", None)
    keys.authorize("bearer  second", None)
    keys.authorize(None, "second")
    for authorization, key in ((None, "fir"), ("Bearer firstx", None), (None, "# ours"), ("Bearer no", "first")):
        with pytest.raises(RequestError, match="is not valid") as caught:
            keys.authorize(authorization, key)
        assert (caught.value.code, caught.value.reason) == ("UNAUTHENTICATED", "API_KEY_INVALID")
    for authorization in (None, "", "Basic first", "first"):
        with pytest.raises(RequestError, match="Send an API key"):
            keys.authorize(authorization, None)


def test_any_header(tmp_path: Path) -> None:
    """A key that is not valid Unicode is a wrong key, not an error of the server."""
    with pytest.raises(RequestError, match="is not valid"):
        ApiKeys(write(tmp_path / "keys", "first")).authorize(None, "\udcff\x00")


def test_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is read again when it changes; a file that is not usable leaves the keys as they are."""
    path = write(tmp_path / "keys", "old")
    keys = ApiKeys(path)
    write(path, "new")
    keys.authorize(None, "new")
    with pytest.raises(RequestError):
        keys.authorize(None, "old")
    with caplog.at_level(logging.ERROR):
        write(path, "")
        keys.authorize(None, "new")
        path.unlink()
        keys.authorize(None, "new")
    assert "has no key" in caplog.text
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has no key"), (b"# no\n", "has no key"), (b"two words", "other characters"), (b"\xff", "not a text file")],
)
def test_unusable_file(tmp_path: Path, content: bytes, message: str) -> None:
    """A file without keys, or with characters that no header may have, is refused when the server starts."""
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(InputError, match=message):
        ApiKeys(tmp_path / "keys")
    with pytest.raises(InputError, match="cannot be read"):
        ApiKeys(tmp_path / "none")
