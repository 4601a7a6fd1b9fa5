"""The real MiniLM, rewritten in Google's formats: the results equal those of its Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle.contract.manifest import MANIFEST_FILE, TOKENIZER_FILE, Manifest
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.job.texts import PARITY_TEXTS, make_features
from bertbundle_export.runners import onnx_runner
from google_checkpoints import tf1_weights, write_hub, write_tf1
from local_server import serving
from real_weights import fetch

pytestmark = pytest.mark.slow

ATOL = 1e-5
OPTIONS = LoadOptions(pooling="mean", normalize=True)  # only sentence-transformers' files state this
WRITERS: dict[str, Callable[..., Path]] = {
    "tf1": write_tf1,
    "tf-hub-list": lambda *arguments: write_hub(*arguments, style="list"),
    "tf-hub-dict": lambda *arguments: write_hub(*arguments, style="dict"),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> dict[str, Path]:
    """Export MiniLM from every format; return the version directories."""
    from safetensors.numpy import load_file

    source, root = fetch("all-MiniLM-L6-v2"), tmp_path_factory.mktemp("minilm")
    weights = tf1_weights(load_file(source / "model.safetensors"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    vocab = (source / "vocab.txt").read_text(encoding="utf-8").splitlines()
    found = {"minilm": minilm}
    options: dict[str, Any] = {"max_length": 64, "lengths": [], "formats": ["onnx"], "load": OPTIONS}
    options["texts"] = PARITY_TEXTS[:2]  # the tests compare the results on more of them
    for name, write in WRITERS.items():
        checkpoint = write(root / "sources" / name, weights, config, vocab)
        found[name] = export_bundle(checkpoint, name=name, output=root / "models", **options).path
    return found


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve all bundles with one server; return its address."""
    models = "".join(
        f'config {{ name: "{name}" base_path: "{path.parent}" model_platform: "tensorflow" }}\n'
        for name, path in bundles.items()
    )
    config = tmp_path_factory.mktemp("server") / "models.config"
    config.write_text(f"model_config_list {{\n{models}}}\n", encoding="utf-8")
    with serving(model_config_file=config, runtime="onnx") as address:
        yield address


@pytest.mark.parametrize("name", WRITERS)
def test_embeddings_equal_those_of_the_hugging_face_directory(server: str, name: str) -> None:
    """Through server and client, every format gives the sentence embeddings of the Hugging Face directory."""
    texts = list(PARITY_TEXTS[:20])
    with Client(server, "minilm") as expected, Client(server, name) as found:
        assert found.manifest().source.format == name.removesuffix("-list").removesuffix("-dict")
        assert found.manifest().tokenizer_lowercase
        np.testing.assert_allclose(found.embed(texts), expected.embed(texts), atol=ATOL, rtol=0)


@pytest.fixture(scope="module")
def expected(minilm: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of the bundle from the Hugging Face directory."""
    return outputs(minilm)


@pytest.mark.parametrize("name", WRITERS)
def test_outputs_equal_those_of_the_hugging_face_directory(
    bundles: dict[str, Path], expected: dict[str, np.ndarray[Any, Any]], name: str
) -> None:
    """Every output of the bundle equals that of the bundle from the Hugging Face directory."""
    found = outputs(bundles[name])
    assert found.keys() == expected.keys()
    for output, value in expected.items():
        np.testing.assert_allclose(found[output], value, atol=ATOL, rtol=0)


def outputs(version: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of a bundle's ONNX model for real texts, tokenized by its own tokenizer."""
    manifest = Manifest.from_json((version / MANIFEST_FILE).read_text(encoding="utf-8"))
    tokenizer = Tokenizer((version / TOKENIZER_FILE).read_text(encoding="utf-8"), max_length=64)
    (features,) = make_features(
        tokenizer, PARITY_TEXTS[:20], signatures={"serving_default": 64}, inputs=manifest.inputs
    )
    return dict(onnx_runner(version / "model.onnx")(features))
