"""Real weights, rewritten in the formats of Keras packages: the bundles equal that of their Hugging Face directory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle_export import export_bundle
from bertbundle_export.checkpoints import LoadOptions
from keras_archives import as_archive
from keras_files import as_bert_for_tf2, as_keras_bert, as_keras_h5
from local_server import serving
from tiny_checkpoints import change_config

pytestmark = pytest.mark.slow

TEXTS = ["A man is eating food.", "Ein Mann isst etwas.", "The girl is carrying a baby, isn't she?", "x"]
FORMATS = {
    "keras-h5": ("gelu", as_keras_h5),
    "keras-bert": ("gelu_new", as_keras_bert),
    "bert-for-tf2": ("gelu_new", as_bert_for_tf2),
    "keras-v3": ("gelu_new", as_archive),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Iterator[str]:
    """Serve all-MiniLM-L6-v2 in each format, and from its Hugging Face directory with each kind of gelu."""
    del tensorflow
    from real_weights import fetch

    root = tmp_path_factory.mktemp("minilm")
    options: dict[str, Any] = {"output": root / "models", "max_length": 32, "lengths": [], "formats": ["onnx"]}
    for activation in ("gelu", "gelu_new"):
        shutil.copytree(fetch("all-MiniLM-L6-v2"), root / activation)
        change_config(root / activation, hidden_act=activation)
        export_bundle(root / activation, name=activation, **options)
    load = LoadOptions(pooling="mean", normalize=True)
    for name, (activation, rewrite) in FORMATS.items():
        file, _ = rewrite(root / activation, root / name)
        export_bundle(file, name=name, load=load, **options)
    yield from _serve(root)


def _serve(root: Path) -> Iterator[str]:
    models = "".join(
        f'config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
        for path in sorted((root / "models").iterdir())
    )
    (root / "models.config").write_text(f"model_config_list {{\n{models}}}\n", encoding="utf-8")
    with serving(model_config_file=root / "models.config") as address:
        yield address


@pytest.mark.parametrize("name", FORMATS)
def test_sentence_embeddings(address: str, name: str) -> None:
    """Each format gives the embeddings of the Hugging Face directory with the same weights and activation."""
    with Client(address, name) as client, Client(address, FORMATS[name][0]) as reference:
        assert client.manifest().source.format == name
        np.testing.assert_allclose(client.embed(TEXTS), reference.embed(TEXTS), atol=1e-5)
