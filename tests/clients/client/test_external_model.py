"""Against anything that speaks the API: a bundle in this process, somebody else's model, several addresses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from bertbundle import Client, GrpcTransport, InputError, PredictCall, Prediction, foreign_manifest

if TYPE_CHECKING:
    from fakes import FakeServer


@pytest.fixture(scope="module")
def bundle(fakes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the small model's version 1."""
    base: Path = tmp_path_factory.mktemp("local") / "tiny"
    fakes.write_bundle(base)
    return base


@pytest.mark.parametrize("name", ["", "1"])
def test_local(fakes: Any, bundle: Path, name: str) -> None:
    """A bundle in this process answers as a served one does, found by its own directory or its model's."""
    texts = ["Wang lives in Berlin", "a"]
    with Client.local(bundle / name) as client:
        assert client.entities(texts) == Client("", "tiny", transport=fakes.FakeTransport()).entities(texts)
        assert client.status()[0].version == 1
        assert client.manifest().name == "tiny"


def test_local_mistakes(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without a bundle, and a machine without onnxruntime, are errors with the next step."""
    with pytest.raises(InputError, match=r"no bundle.json in .*Pass the directory of a bundle"):
        Client.local(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'bertbundle\[local\]'"):
        Client.local(bundle)


class Foreign:
    """Somebody else's tagger: other names, int64 inputs, logits only, no bundle_info."""

    def __init__(self, fakes: Any) -> None:
        self.fakes = fakes

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """Answer the only signature."""
        assert (call.model, call.signature, call.outputs) == ("theirs", "score", ("dense",))
        assert {name: array.dtype for name, array in call.inputs.items()} == {
            "input_word_ids": np.dtype(np.int64),
            "input_mask": np.dtype(np.int64),
        }
        labels = self.fakes.TABLE[call.inputs["input_word_ids"]]
        return Prediction({"dense": 10.0 * np.eye(len(self.fakes.LABELS))[labels]}, 7)


@pytest.fixture
def tokenizer_file(fakes: Any, tmp_path: Path) -> Path:
    """A tokenizer.json."""
    path = tmp_path / "tokenizer.json"
    path.write_text(fakes.make_tokenizer().to_str(), encoding="utf-8")
    return path


def test_foreign_tagger(fakes: Any, tokenizer_file: Path) -> None:
    """A model that is no bundle is asked by its own names and dtypes, and entities are made of its logits."""
    manifest = foreign_manifest(
        "token-classification",
        max_length=12,
        labels=fakes.LABELS,
        inputs=("input_ids", "attention_mask"),
        dtype="int64",
    )
    names = {
        "serving_default": "score",
        "input_ids": "input_word_ids",
        "attention_mask": "input_mask",
        "logits": "dense",
    }
    transport: Any = Foreign(fakes)
    client = Client("", "theirs", transport=transport, manifest=manifest, tokenizer=tokenizer_file, names=names)
    entities = client.entities("Wang lives in Berlin " * 4)
    assert [entity.text for entity in entities] == ["Wang", "Berlin"] * 4
    assert entities[0].score == pytest.approx(1.0, abs=1e-3)
    assert client.pipeline("ner")("Wang")[0]["entity"] == "B-PER"


def test_foreign_vocabulary(fakes: Any, tmp_path: Path) -> None:
    """A vocab.txt in the place of tokenizer.json, or nothing there, is an error that says how to make one of it."""
    (tmp_path / "vocab.txt").write_text("\n".join(fakes.WORDS), encoding="utf-8")
    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"])
    for path in (tmp_path / "vocab.txt", tmp_path):
        with pytest.raises(InputError, match=r"BertWordPieceTokenizer\('vocab.txt'\)\.save\('tokenizer.json'\)"):
            Client("localhost:1", "theirs", manifest=manifest, tokenizer=path)


@pytest.mark.parametrize("multi_label", [False, True])
def test_foreign_classifier(fakes: Any, tokenizer_file: Path, multi_label: bool) -> None:
    """Scores are made of logits: softmax, or sigmoid for independent classes."""
    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"], multi_label=multi_label)

    class Two:
        def predict(self, *_: Any, **__: Any) -> Prediction:
            return Prediction({"logits": np.array([[0.0, np.log(3.0)]], np.float32)}, 1)

    transport: Any = Two()
    client = Client("localhost:1", "theirs", transport=transport, manifest=manifest, tokenizer=tokenizer_file.parent)
    expected = {"b": 0.75, "a": 0.5} if multi_label else {"b": 0.75, "a": 0.25}
    assert client.classify("wang").scores == pytest.approx(expected)
    del fakes


def test_manifest_and_tokenizer_go_together(tokenizer_file: Path, tmp_path: Path) -> None:
    """One without the other is a mistake, and so is a tokenizer that is not there."""
    with pytest.raises(ValueError, match="manifest and tokenizer go together"):
        Client("localhost:1", "theirs", tokenizer=tokenizer_file)
    manifest = foreign_manifest("feature-extraction", max_length=12)
    with pytest.raises(InputError, match="cannot be read"):
        Client("nowhere:1", "theirs", manifest=manifest, tokenizer=tmp_path / "none.json")


# ---- metadata


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_token_metadata_and_compression(fakes: Any, start: Callable[..., FakeServer], compression: str) -> None:
    """Token and metadata travel with each call, and requests are compressed as asked."""
    seen: list[dict[str, str]] = []
    answers = fakes.answers_of(fakes.Model())

    def predict(data: bytes, context: grpc.ServicerContext) -> Any:
        seen.append(dict(context.invocation_metadata()))
        return answers(data, context)

    options: dict[str, Any] = {"token": lambda: "secret", "metadata": {"X-Team": "search"}, "compression": compression}
    with Client(start(predict).address, "tiny", **options) as client:
        client.entities("wang")
    assert {key: seen[-1][key] for key in ("authorization", "x-team")} == {
        "authorization": "Bearer secret",
        "x-team": "search",
    }


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"compression": "zip"}, id="compression"),
        pytest.param({"metadata": {"a b": "c"}}, id="metadata-name"),
        pytest.param({"metadata": {"a": "ü"}}, id="metadata-value"),
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """Options that gRPC would only fail on later are refused at once."""
    with pytest.raises(ValueError, match="must"):
        GrpcTransport("localhost:1", **options)
