"""The number of cores respects a container's CPU quota."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle._shared.cores import available_cores


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"cpu.max": "100000 100000"}, 1, id="v2"),
        pytest.param({"cpu.max": "max 100000"}, None, id="v2-no-quota"),
        pytest.param({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1, id="v1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, id="v1-no-quota"),
        pytest.param({}, None, id="no-cgroup"),
    ],
)
def test_quota_limits_the_cores(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    """A container's CPU quota limits the number of cores, in cgroup v1 and v2."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == (expected or available_cores(tmp_path / "none"))
