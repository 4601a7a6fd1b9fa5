"""Embedded servers of the small model with version labels, for tests of promotions."""

from __future__ import annotations

import shutil
from pathlib import Path

from bertbundle import Client
from bertbundle_serving.config.models import read_model_configs
from bertbundle_serving.server import ServerOptions
from embedded_server import InProcessServer
from fakes import write_bundle

__all__ = ["CONFIG", "Deployment", "find_no_places"]

CONFIG = """# the models of this server
model_config_list {{
  config {{
    name: "{name}"  # a tagger
    base_path: "{base}"
    model_version_policy {{ specific {{ {versions} }} }}
    version_labels {{ key: "stable" value: 1 }}
  }}
  config {{ name: "other" base_path: "{base}" }}
}}
"""


class Deployment:
    """A model with versions 1 and 2, a configuration file, and servers that were started with it.

    Attributes:
        base: the base path of the model.
        config: the configuration file.
        servers: the servers.
    """

    def __init__(self, directory: Path, *, name: str = "tiny", versions: str = "versions: 1 versions: 2") -> None:
        """Write the model and the file."""
        self.base = directory / "models" / name
        write_bundle(self.base)
        shutil.copytree(self.base / "1", self.base / "2")
        self.config = directory / "models.config"
        self.config.write_text(CONFIG.format(name=name, base=self.base, versions=versions), encoding="utf-8")
        self.servers: list[InProcessServer] = []

    def start(self) -> str:
        """Start a server, and return its address."""
        options = ServerOptions(models=read_model_configs(self.config), port=0, poll_seconds=0.05, runtime="onnx")
        self.servers.append(InProcessServer(options))
        return f"127.0.0.1:{self.servers[-1].server.port}"

    def stop(self) -> None:
        """Stop all servers."""
        while self.servers:
            self.servers.pop().stop()

    @staticmethod
    def version(address: str, label: str) -> int:
        """Return the version that answers requests for a label."""
        with Client(address, "tiny", version=label) as client:
            client.entities("wang")
            loaded = client._session.loaded
            assert loaded is not None
            return loaded.version


def find_no_places(version: Path) -> None:
    """Change the model of a version so that it finds no places."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(version / "model.onnx")
    for initializer in model.graph.initializer:
        if initializer.name == "labels":
            labels = numpy_helper.to_array(initializer)
            initializer.CopyFrom(numpy_helper.from_array(labels * (labels < 3).astype(labels.dtype), "labels"))
    onnx.save(model, version / "model.onnx")
