"""Handles of TF Hub and Kaggle, found in the caches of their own clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import CheckpointError

HANDLE = "https://tfhub.dev/tensorflow/bert_zh_L-12_H-768_A-12/4"
# hashlib.sha1(HANDLE.encode()).hexdigest(), the name that tensorflow-hub 0.16.1 gives the directory.
DIGEST = "dc7ec0c6c8ed5b862891094bcbdf776b7a54dea7"
KAGGLE = "tensorflow/bert/tensorFlow2/zh-l-12-h-768-a-12/4"


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the caches of both clients to a directory; return it."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    return tmp_path


@pytest.mark.parametrize(
    ("handle", "directory"),
    [
        pytest.param(HANDLE, f"tfhub/{DIGEST}", id="tfhub"),
        pytest.param(KAGGLE, f"kaggle/models/{KAGGLE}", id="kaggle"),
        pytest.param(f"https://www.kaggle.com/models/{KAGGLE}", f"kaggle/models/{KAGGLE}", id="kaggle_address"),
        pytest.param(
            "https://www.kaggle.com/models/tensorflow/bert/frameworks/TensorFlow2/variations/zh-l-12-h-768-a-12/versions/4",
            f"kaggle/models/{KAGGLE}",
            id="kaggle_page",
        ),
    ],
)
def test_cached(caches: Path, handle: str, directory: str) -> None:
    """A handle is resolved to the directory that its client downloads to."""
    (caches / directory).mkdir(parents=True)
    with open_source(handle) as path:
        assert path == caches / directory


@pytest.mark.parametrize(
    ("handle", "command"),
    [
        pytest.param(HANDLE, f"tensorflow_hub.resolve('{HANDLE}')", id="tfhub"),
        pytest.param(KAGGLE, f"kagglehub.model_download('{KAGGLE}')", id="kaggle"),
    ],
)
def test_not_cached(caches: Path, handle: str, command: str) -> None:
    """The message about a handle that is not cached names the searched directories and the command to download it."""
    with pytest.raises(CheckpointError, match="is neither in") as raised, open_source(handle):
        pass
    assert str(caches / "tfhub") in str(raised.value)
    assert command in str(raised.value)
