"""Ask a small model about a data set: results of each task, long texts, unknown tokens, versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle.data.examples import Dataset, Span, data_task
from bertbundle.errors import InputError, ServerError
from bertbundle.evaluation.measures import measure
from bertbundle.evaluation.observations import Observation, ObserveOptions, observe
from bertbundle.evaluation.reports.evaluate import Evaluation, evaluate
from bertbundle.evaluation.spans import predicted_spans
from evaluations import dataset
from fakes import FakeTransport, Model, connect, make_manifest

LONG = "wang lives in berlin today a b c e wang"
"""Thirteen tokens with [CLS] and [SEP]: one more than the small model takes."""


def ask(
    data: Dataset, task: str = "token-classification", head: str | None = None, **options: Any
) -> list[Observation]:
    """Return the results of the small model."""
    manifest = make_manifest(task)
    with connect(FakeTransport(Model(manifest))) as client:
        return observe(client, data_task(manifest, head), data, ObserveOptions(head=head, **options))


def test_entities_of_texts_and_of_words() -> None:
    """Entities are those of the client, in characters of the text or of the words joined by spaces."""
    assert predicted_spans(ask(dataset([()], ["Wang lives in Berlin"]))[0]) == (Span("PER", 0, 4), Span("LOC", 14, 20))
    words = dataset([()], [["Wang", "in", "Berlin"]], is_split_into_words=True)
    assert predicted_spans(ask(words)[0]) == (Span("PER", 0, 4), Span("LOC", 8, 14))


def test_long_texts_are_counted_and_not_cut() -> None:
    """A long text is split into windows, and says so; truncated, its end has no entity, and it still says so."""
    data = dataset([(), ()], [LONG, "wang"])
    windowed, short = ask(data)
    assert [span.start for span in predicted_spans(windowed)] == [0, 14, 35]
    assert (windowed.lengths, windowed.too_long, short.lengths, short.too_long) == ((13,), True, (3,), False)
    truncated = ask(data, truncation="truncate")[0]
    assert len(predicted_spans(truncated)) == 2
    assert (truncated.lengths, truncated.too_long) == ((13,), True)
    with pytest.raises(InputError, match=r"^data\.jsonl, line 1: the text has 13 tokens"):
        ask(data, truncation="error")


def test_unknown_tokens_are_counted() -> None:
    """A word that is not in the vocabulary is one unknown token; special tokens are not unknown."""
    assert [result.unknown for result in ask(dataset([(), ()], ["wang xyz xyz", "wang"]))] == [2, 0]


def test_unknown_tokens_behind_the_end_are_counted() -> None:
    """Unknown tokens and lengths are those of the whole text, whether or not it is truncated."""
    data = dataset([()], [f"{LONG} xyz"])
    found = {truncation: ask(data, truncation=truncation)[0] for truncation in ("window", "truncate")}
    assert [(result.unknown, result.lengths) for result in found.values()] == [(1, (14,))] * 2


def test_strict_entities_follow_the_scheme() -> None:
    """A label that continues nothing is an entity leniently, as for the client, and none strictly."""
    data = dataset([()], ["建国在北京"])
    assert predicted_spans(ask(data)[0]) == (Span("PER", 0, 2), Span("LOC", 3, 5))
    assert predicted_spans(ask(data, strict=True)[0]) == (Span("LOC", 3, 5),)


@pytest.mark.parametrize(
    ("task", "text", "gold", "expected"),
    [
        ("text-classification", "wang", ("perhaps",), {"accuracy": 1.0}),
        ("regression", ("wang", "in"), 4.0, {"rmse": 0.0}),
        ("question-answering", ("wang", "lives in Berlin"), ("Berlin",), {"exact_match": 1.0, "f1": 1.0}),
        ("fill-mask", "[MASK] lives", ("lives",), {"accuracy_at_1": 0.0, "accuracy_at_2": 1.0}),
        ("span-classification", "in Berlin", (Span("LOC", 3, 9), Span("PLACE", 0, 9)), {"f1_micro": 1.0}),
    ],
)
def test_results_of_each_task(task: str, text: Any, gold: Any, expected: dict[str, float]) -> None:
    """The metrics of one text of each task, whose result the small model makes easy to tell."""
    data = dataset([gold], [text])
    values = measure(data_task(make_manifest(task)), data, ask(data, task)).values()
    assert {name: values[name] for name in expected} == expected


def test_similarity_is_the_cosine_of_two_embeddings() -> None:
    """A pair of texts of an embedding model has the cosine of its vectors, here of known numbers."""
    result = ask(dataset([1.0], [("wang", "in today")]), "feature-extraction")[0]
    one, other = np.array([4, 3]), np.array([6, 4])  # ids of wang and in, and the numbers of tokens
    assert result.result == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert result.lengths == (3, 4)


def test_one_of_several_heads_answers() -> None:
    """The head is chosen by its name; without it, the message has the names."""
    data = dataset([("perhaps",)], ["wang"])
    assert ask(data, "multi-task", "intent")[0].result.label == "perhaps"
    with pytest.raises(InputError, match="has the heads intent, slots: choose one with --head"):
        ask(data, "multi-task")
    with pytest.raises(InputError, match="has no head 'x', it has intent, slots"):
        ask(data, "multi-task", "x")
    with pytest.raises(InputError, match="has no head 'x', it is for regression only"):
        ask(dataset([1.0]), "regression", "x")


def test_version_that_takes_over_is_an_error() -> None:
    """Results of two versions are not mixed."""
    models = [Model(version=1)] * 3 + [Model(version=2)]
    data = dataset([()] * 130, ["wang"] * 130)
    with connect(FakeTransport(*models)) as client, pytest.raises(ServerError, match="versions 1 and 2 of the model"):
        observe(client, data_task(make_manifest()), data, ObserveOptions())


def test_model_that_is_updated_before_the_first_answer_is_an_error(tmp_path: Path) -> None:
    """The labels of the data are those of the model that was asked first, so another one must not answer."""
    path = tmp_path / "data.csv"
    path.write_text("text,label\nwang,no\n", encoding="utf-8")
    manifest = make_manifest("text-classification")
    models = [Model(manifest), Model(replace(manifest, labels=("a", "b", "c")), version=2)]
    with connect(FakeTransport(*models)) as client, pytest.raises(ServerError, match="'tiny' was updated meanwhile"):
        evaluate(client, "tiny", Evaluation(str(path)))


def test_threshold_without_effect_is_refused() -> None:
    """Only a multi-label model has a threshold."""
    with pytest.raises(
        InputError, match="--threshold has no effect: the model for token-classification is not multi-label"
    ):
        ask(dataset([()], ["wang"]), threshold=0.9)


def test_invalid_text_has_file_and_line() -> None:
    """A text without tokens is named by its line in the file, not by its index in a request."""
    data = dataset([()] * 70, ["wang"] * 69 + ["\u200b"])
    with pytest.raises(InputError, match=r"^data\.jsonl, line 70: the text has no tokens"):
        ask(data)
    with pytest.raises(InputError, match=r"^data\.jsonl, line 1: entities\(\) takes a text"):
        ask(dataset([()], [("wang", "in")]))
