"""The ONNX runtime."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
