"""SavedModels of Kashgari and keras-bert, which have no attention mask, asked through the client."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bertbundle import Client, RestTransport, foreign_manifest
from fakes import make_tokenizer
from local_server import serving
from model_server import BINARY, free_port, model_server
from optional import skip_without

pytestmark = pytest.mark.slow

LABELS, LENGTH = ("O", "B-PER", "I-PER"), 8
TEXTS = ["wang", "wang lives in berlin", "in in berlin"]
OPTIONS: dict[str, Any] = {"max_length": LENGTH, "labels": LABELS, "outputs": ("probabilities",), "dtype": "float32"}
TABLE = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
"""The vector of each token."""


def softmax(values: Any) -> Any:
    """Return the softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def outputs(tf: Any, tokens: Any, segments: Any) -> tuple[Any, Any]:
    """Return the probabilities of each token and of the text: a mean over the tokens whose id is not 0."""
    vectors = tf.gather(tf.constant(TABLE), tf.cast(tokens, tf.int32)) + segments[:, :, None]
    mask = tf.cast(tokens > 0, tf.float32)[:, :, None]
    mean = tf.reduce_sum(vectors * mask, 1) / tf.reduce_sum(mask, 1)
    return tf.nn.softmax(vectors * 2 + mean[:, None]), tf.nn.softmax(mean)


def save_keras(tf: Any, path: Path) -> None:
    """Save as Kashgari 2 does: float32 inputs of any length."""
    spec = [tf.TensorSpec([None, None], tf.float32, name=name) for name in ("Input-Token", "Input-Segment")]

    def serve(tokens: Any, segments: Any) -> dict[str, Any]:
        return dict(zip(("activation", "dense"), outputs(tf, tokens, segments), strict=True))

    signature = tf.function(serve, input_signature=spec)
    tf.saved_model.save(tf.Module(), str(path), signatures={"serving_default": signature})


def save_tensorflow_1(tf: Any, path: Path) -> None:
    """Save as Kashgari 1 and keras-bert do: inputs of one length, with names that end in ``:0``."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = {
            f"{name}:0": v1.placeholder(tf.float32, [None, LENGTH], name=name)
            for name in ("Input-Token", "Input-Segment")
        }
        names = ("activation/truediv:0", "dense/Softmax:0")
        found = dict(zip(names, outputs(tf, *inputs.values()), strict=True))
        v1.saved_model.simple_save(session, str(path), inputs, found)


class Saved(NamedTuple):
    """A way to save, and the names in its signature."""

    save: Callable[[Any, Path], None]
    tokens: str
    segments: str
    per_token: str
    per_text: str

    def names(self, output: str) -> dict[str, str]:
        """Return the names for a client that asks for an output."""
        return {"input_ids": self.tokens, "token_type_ids": self.segments, "probabilities": output}


SAVED = {
    "keras": Saved(save_keras, "Input-Token", "Input-Segment", "activation", "dense"),
    "tensorflow_1": Saved(
        save_tensorflow_1, "Input-Token:0", "Input-Segment:0", "activation/truediv:0", "dense/Softmax:0"
    ),
}
Connect = Callable[..., Client]


@pytest.fixture(scope="module", params=["embedded", "tensorflow_model_server"])
def addresses(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tensorflow: Any
) -> Iterator[tuple[str, str]]:
    """The gRPC address and the URL of a server of all models."""
    real = request.param == "tensorflow_model_server"
    if real and not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    base = tmp_path_factory.mktemp("saved")
    for name, saved in SAVED.items():
        (base / name).mkdir()
        saved.save(tensorflow, base / name / "1")
    models = "".join(f'config {{ name: "{n}" base_path: "{base / n}" model_platform: "tensorflow" }}' for n in SAVED)
    config, port = base / "models.config", free_port()
    config.write_text(f"model_config_list {{ {models} }}", encoding="utf-8")
    flags: dict[str, Any] = {"model_config_file": config, "rest_api_port": port}
    with model_server("keras", **flags) if real else serving(**flags) as address:
        yield address, f"http://127.0.0.1:{port}"


@pytest.fixture(params=["grpc", "rest"])
def connect(request: pytest.FixtureRequest, addresses: tuple[str, str], tmp_path: Path) -> Connect:
    """Return a client of a model over one transport."""
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    address, url = addresses

    def connected(model: str, task: str, *, output: str, **options: Any) -> Client:
        manifest = foreign_manifest(task, **{**OPTIONS, "inputs": ("input_ids", "token_type_ids"), **options})
        settings: dict[str, Any] = {"manifest": manifest, "tokenizer": tmp_path, "names": SAVED[model].names(output)}
        if request.param == "rest":
            return Client("", model, transport=RestTransport(url), **settings)
        return Client(address, model, **settings)

    return connected


def mean(text: str) -> np.ndarray[Any, Any]:
    """Return the mean vector of a text's tokens."""
    return np.asarray(TABLE[make_tokenizer().encode(text).ids].mean(axis=0))


@pytest.mark.parametrize("model", SAVED)
def test_classes(connect: Connect, model: str) -> None:
    """Texts of different lengths have the scores of the model without padding; only its two inputs are sent."""
    with connect(model, "text-classification", output=SAVED[model].per_text) as client:
        for text, result in zip(TEXTS, client.classify(TEXTS), strict=True):
            found = [result.scores[label] for label in LABELS]
            np.testing.assert_allclose(found, softmax(mean(text)), atol=1e-6)


@pytest.mark.parametrize("model", SAVED)
def test_tokens(connect: Connect, model: str) -> None:
    """Each token has the label of the model, and its probability."""
    with connect(model, "token-classification", output=SAVED[model].per_token) as client:
        for text, found in zip(TEXTS, client.pipeline("ner", ignore_labels=[])(TEXTS), strict=True):
            ids = make_tokenizer().encode(text).ids
            expected = softmax(TABLE[ids] * 2 + mean(text))[1:-1]
            assert [token["entity"] for token in found] == [LABELS[row.argmax()] for row in expected]
            np.testing.assert_allclose([token["score"] for token in found], expected.max(axis=-1), atol=1e-6)
