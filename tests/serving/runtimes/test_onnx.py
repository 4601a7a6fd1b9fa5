"""The ONNX runtime."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bertbundle_serving.runtimes import RuntimeOptions, loader
from runtime_files import write_graphs
from tiny_bundles import TinyBundles


@pytest.mark.slow
def test_onnx_server_never_imports_tensorflow(bundles: TinyBundles) -> None:
    """Serving an ONNX bundle imports neither TensorFlow nor any other package that only the export needs."""
    bundles.write(1)
    program = f"""
import asyncio, sys
from pathlib import Path
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.server import Server, ServerOptions

async def main():
    server = Server(ServerOptions(models=(ModelConfig("tiny", Path({str(bundles.base)!r})),), port=0))
    await server.start()
    assert "runtime onnx" in server.banner()[1]
    await server.stop()

asyncio.run(main())
print([name for name in ("tensorflow", "transformers", "tf2onnx", "keras", "onnx") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("version", "expected"), [("1.25.1", 1), ("1.26.0", 4), ("2.0.0", 4)])
def test_concurrent_computations(
    bundles: TinyBundles, monkeypatch: pytest.MonkeyPatch, version: str, expected: int
) -> None:
    """As many computations as cores share the threads, if onnxruntime can limit how long idle threads spin."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", version)
    for module in ("onnx", "bundle"):
        monkeypatch.setattr(f"bertbundle_serving.runtimes.{module}.available_cores", lambda: 4)
    assert loader("onnx", RuntimeOptions())(write_graphs(bundles)).concurrency == expected
