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
def address(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Iterator[str]:
    """Serve all-MiniLM-L6-v2 in each format, and from its Hugging Face directory with each kind of gelu."""
    from real_weights import fetch

    root = tmp_path_factory.mktemp("minilm")
    options: dict[str, Any] = {"output": root / "models", "max_length": 32, "lengths": [], "formats": ["onnx"]}
    options["texts"] = TEXTS  # the test compares the results on them, too
    sources = {"gelu": fetch("all-MiniLM-L6-v2"), "gelu_new": root / "gelu_new"}
    shutil.copytree(sources["gelu"], sources["gelu_new"])
    change_config(sources["gelu_new"], hidden_act="gelu_new")
    bundles = {"gelu": minilm, "gelu_new": export_bundle(sources["gelu_new"], name="gelu_new", **options).path}
    load = LoadOptions(pooling="mean", normalize=True)
    for name, (activation, rewrite) in FORMATS.items():
        file, _ = rewrite(sources[activation], root / name)
        bundles[name] = export_bundle(file, name=name, load=load, **options).path
    yield from _serve(bundles, root / "models.config")


def _serve(bundles: dict[str, Path], config: Path) -> Iterator[str]:
    models = "".join(
        f'config {{ name: "{name}" base_path: "{path.parent}" model_platform: "tensorflow" }}\n'
        for name, path in bundles.items()
    )
    config.write_text(f"model_config_list {{\n{models}}}\n", encoding="utf-8")
    with serving(model_config_file=config) as address:
        yield address


@pytest.mark.parametrize("name", FORMATS)
def test_sentence_embeddings(address: str, name: str) -> None:
    """Each format gives the embeddings of the Hugging Face directory with the same weights and activation."""
    with Client(address, name) as client, Client(address, FORMATS[name][0]) as reference:
        assert client.manifest().source.format == name
        np.testing.assert_allclose(client.embed(TEXTS), reference.embed(TEXTS), atol=1e-5)
