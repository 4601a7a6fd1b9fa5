"""The completion scripts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., str]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script(run: Run, shell: str) -> None:
    """A completion script contains all commands and their options."""
    script = run("completion", shell)
    assert all(word in script for word in ("predict", "bulk", "--resume", "--truncation"))


def test_bash_completes_an_option() -> None:
    """With the script, bash completes an option of a command."""
    code = f"""eval "$({sys.executable} -m bertbundle completion bash)"
    COMP_WORDS=(bertbundle bulk --res); COMP_CWORD=2; _bertbundle; echo "${{COMPREPLY[@]}}" """
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "--resume\n"
