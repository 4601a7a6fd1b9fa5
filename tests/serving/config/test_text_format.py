"""Configuration files are protobuf messages in text format."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_serving.config.models import read_model_configs
from bertbundle_serving.errors import ServeError


def test_missing_config(tmp_path: Path) -> None:
    """The message about a missing model_config_file names it."""
    with pytest.raises(ServeError, match=r"absent: No such file or directory\. Expected: ModelServerConfig in"):
        read_model_configs(tmp_path / "absent")


def test_config_from_windows(tmp_path: Path) -> None:
    """A file with a byte order mark and Windows line endings can be read."""
    text = 'model_config_list {\r\n config { name: "a" base_path: "/a" }\r\n}'
    (tmp_path / "models.config").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [model.name for model in read_model_configs(tmp_path / "models.config")] == ["a"]


def test_malformed_config_is_explained(tmp_path: Path) -> None:
    """A malformed file is named, with TensorFlow Serving's words and the place of the mistake."""
    (tmp_path / "models.config").write_text("model_config_list { nonsense }", encoding="utf-8")
    text = r"models\.config: Error parsing text-format tensorflow\.serving\.ModelServerConfig: 1:21"
    with pytest.raises(ServeError, match=text):
        read_model_configs(tmp_path / "models.config")
