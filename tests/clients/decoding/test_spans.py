"""Spans of tokens become entities, which may be nested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client, Entity, InputError, ManifestError, ServerError
from bertbundle.client.external_model import foreign_manifest
from bertbundle.decoding.decoders import DECODERS
from bertbundle.session.batches import AskOptions
from fakes import SPAN_LABELS, FakeTransport, Model, connect, find_spans, make_manifest, make_tokenizer

approx: Any = pytest.approx
TEXT = "Wang lives in Berlin"
ENTITIES = [
    Entity("PER", "Wang", 0, 4, approx(0.6)),
    Entity("PLACE", "in Berlin", 11, 20, approx(0.8)),
    Entity("LOC", "Berlin", 14, 20, approx(0.7)),
]


def make_client(**overrides: Any) -> Client:
    """Return a client of a model for span classification."""
    return connect(FakeTransport(Model(make_manifest("span-classification"), overrides=overrides)))


def fixed(spans: list[list[int]], scores: list[float] | None = None) -> dict[str, Any]:
    """Return outputs with these spans for each row."""
    values = {
        "spans": np.array([spans], np.int32),
        "span_scores": np.array([scores or [0.9] * len(spans)], np.float32),
        "span_counts": np.array([len(spans)], np.int32),
    }
    return {name: lambda _, value=value: value for name, value in values.items()}


def test_nested_entities() -> None:
    """The method `entities` answers span classification, in order of the start and then of the longer entity."""
    assert make_client().entities(TEXT) == ENTITIES
    assert make_client().entities([TEXT, "today"]) == [ENTITIES, []]


def test_the_model_is_loaded_once() -> None:
    """A second call does not ask for the manifest again, although the method has a decoder of another task first."""
    transport = FakeTransport(Model(make_manifest("span-classification")))
    client = connect(transport)
    for _ in range(3):
        client.entities(TEXT)
    assert transport.signatures == ["bundle_info", "length_8", "length_8", "length_8"]


def test_words() -> None:
    """Offsets of lists of words refer to the words joined by spaces."""
    assert make_client().entities(TEXT.split(), is_split_into_words=True) == ENTITIES


def test_order_of_equal_spans() -> None:
    """Entities with the same characters are ordered by label."""
    found = make_client(**fixed([[2, 1, 1], [0, 1, 1], [1, 1, 2]])).entities("wang lives")
    assert [(entity.label, entity.text) for entity in found] == [
        ("LOC", "wang lives"),
        ("PER", "wang"),
        ("PLACE", "wang"),
    ]


def test_one_entity_for_tokens_of_one_character() -> None:
    """Spans whose tokens are parts of the same characters are one entity with the higher score."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ᄀ", "##ᅡ"])}
    model = Model(
        make_manifest("span-classification"),
        make_tokenizer(vocabulary).to_str(),
        overrides=fixed([[0, 1, 1], [0, 2, 2], [0, 1, 2]], [0.6, 0.9, 0.7]),
    )
    (entity,) = connect(FakeTransport(model)).entities("가")
    assert entity == Entity("PER", "가", 0, 1, approx(0.9))


def test_accents_belong_to_the_span() -> None:
    """Combining marks after the last token, which the tokenizer strips, are part of the entity."""
    (entity,) = make_client(**fixed([[0, 1, 1]])).entities("wang\u0301 lives")
    assert entity.text == "wang\u0301"


def test_more_spans_than_rows() -> None:
    """A text with more spans than the model returns is an error with the limit, never a shorter list."""
    text = "wang wang wang wang wang lives"
    with pytest.raises(InputError, match=r"a text has 5 spans, this model returns at most 4: .*--top-k"):
        make_client().entities(text)
    results = make_client().ask(DECODERS["span-classification"], [text, TEXT], AskOptions(keep_errors=True))
    assert isinstance(results[0], InputError)
    assert results[1] == ENTITIES


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        pytest.param(fixed([[3, 1, 1]]), "3 labels", id="label"),
        pytest.param(fixed([[0, 2, 1]]), "are not", id="order"),
        pytest.param(fixed([[0, -1, 1]]), "are not", id="negative"),
        pytest.param({"spans": lambda _: np.zeros((1, 4, 2), np.int32)}, r"shapes \[4, 2\]", id="columns"),
        pytest.param({"span_scores": lambda _: np.zeros((1, 3), np.float32)}, r"\[3\]", id="scores"),
        pytest.param({"span_counts": lambda _: np.zeros((1, 1), np.int32)}, r"\[1\] per text", id="counts"),
    ],
)
def test_wrong_outputs(outputs: dict[str, Any], message: str) -> None:
    """Outputs of other shapes, or values that are no spans of the manifest's labels, are an error."""
    with pytest.raises(ServerError, match=message):
        make_client(**outputs).entities("wang lives")


def test_windows() -> None:
    """A long text has the same entities as if the model took it at once."""
    text = "today wang lives in berlin, " * 6
    found = make_client().entities(text)
    per_text = [("PER", "wang", 6, 10), ("PLACE", "in berlin", 17, 26), ("LOC", "berlin", 20, 26)]
    assert [(e.label, e.text, e.start, e.end) for e in found] == [
        (label, word, start + 28 * index, end + 28 * index)
        for index in range(6)
        for label, word, start, end in per_text
    ]


def test_a_window_with_too_many_spans() -> None:
    """The limit applies to each window of a long text; the error is the same."""
    with pytest.raises(InputError, match="a text has 10 spans, this model returns at most 4"):
        make_client().entities("wang " * 30)


def test_the_pipeline_refuses() -> None:
    """The token-classification pipeline has no form for nested entities: the error names the method."""
    pipeline = make_client().pipeline("ner")
    with pytest.raises(InputError, match=r"is for span-classification, the pipeline needs .*: use entities\(\)"):
        pipeline(TEXT)


def test_other_methods_name_the_right_one() -> None:
    """A method of another task says which method to use."""
    with pytest.raises(InputError, match=r"is for span-classification, classify\(\) needs .*: use entities\(\)"):
        make_client().classify(TEXT)


# ---- models that are not bundles


def _pairs(inputs: Any, found: float, other: float) -> Any:
    """Return a value for each label and span of each row: `found` for those that the model finds."""
    ids = inputs["input_ids"]
    values = np.full((len(ids), len(SPAN_LABELS), ids.shape[1], ids.shape[1]), other, np.float32)
    for row, tokens in enumerate(ids.tolist()):
        for label, first, last, _ in find_spans(tokens):
            values[row, label, first, last] = found
    return values


@pytest.fixture
def foreign_client(tmp_path: Path) -> Callable[..., Client]:
    """Return a function that returns a client of a model that is not a bundle, with one output."""
    (tmp_path / "tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")

    def make(output: str, values: Any, **options: Any) -> Client:
        manifest = foreign_manifest(
            "span-classification", max_length=12, labels=SPAN_LABELS, outputs=(output,), **options
        )
        model = Model(make_manifest("span-classification"), overrides={"logits": values})
        return connect(FakeTransport(model), manifest=manifest, tokenizer=tmp_path, names={output: "logits"})

    return make


def test_logits_of_a_foreign_model(foreign_client: Callable[..., Client]) -> None:
    """The logits of a SavedModel are decoded by the client: special tokens and padding are no entities."""

    def logits(inputs: Any) -> Any:
        values = _pairs(inputs, 2.0, -np.inf)
        values[:, 0, 0, :] = 5.0  # at [CLS], which GlobalPointer's evaluation leaves out
        values[:, 0, :, -1] = 5.0  # at padding
        values[:, 1, 3, 2] = 5.0  # ends before it starts
        return values

    found = foreign_client("logits", logits).entities(TEXT)
    assert [(e.label, e.text) for e in found] == [("PER", "Wang"), ("PLACE", "in Berlin"), ("LOC", "Berlin")]
    np.testing.assert_allclose([e.score for e in found], 1 / (1 + np.exp(-2.0)))
    assert foreign_client("logits", logits, span_threshold=2.0).entities(TEXT) == []


def test_probabilities_of_a_foreign_model(foreign_client: Callable[..., Client]) -> None:
    """Probabilities are compared with the sigmoid of the threshold, and are the scores."""
    found = foreign_client("probabilities", lambda inputs: _pairs(inputs, 0.75, 0.25)).entities(TEXT)
    assert [(e.text, e.score) for e in found] == [("Wang", 0.75), ("in Berlin", 0.75), ("Berlin", 0.75)]
    with pytest.raises(ManifestError, match="has probabilities"):
        foreign_client("logits", lambda inputs: _pairs(inputs, 0.75, 0.25)).entities(TEXT)


def test_shape_of_a_foreign_model(foreign_client: Callable[..., Client]) -> None:
    """Logits of another layout are an error that says the expected one."""
    with pytest.raises(ManifestError, match=r"shape \[12, 12, 3\] per text, .*\[3, length, length\]"):
        foreign_client("logits", lambda inputs: _pairs(inputs, 1.0, -1.0).transpose(0, 2, 3, 1)).entities(TEXT)
