"""The repository checks its models at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_serving.errors import ServeError
from fake_versions import make_repository


def test_only_broken_versions_stop_the_start(tmp_path: Path) -> None:
    """If a model's only version is broken, the start fails with the version and the reason."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "broken").write_text("no weights.")
    with pytest.raises(ServeError, match=r"no version of model m .* version 1: no weights\. Repair or remove it"):
        make_repository(tmp_path).start()
