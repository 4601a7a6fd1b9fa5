"""A CRF: the reference against brute force, the graph against the reference, and what an export takes it from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle_export import export_bundle
from bertbundle_export.errors import ExportError
from bertbundle_export.tasks.crf import crf_graph, crf_reference
from tiny_checkpoints import LABELS

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, batch: int, length: int, labels: int, scale: float = 2.0) -> dict[str, Any]:
    """Draw logits, tables and a mask of right-padded rows of different lengths."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, length + 1, size=(batch, 1))
    shapes = {
        "logits": (batch, length, labels),
        "transitions": (labels, labels),
        "start": (labels,),
        "end": (labels,),
    }
    tables = {name: random.normal(scale=scale, size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**tables, "mask": (np.arange(length) < lengths).astype(np.int32)}


def enumerate_paths(case: dict[str, Any], row: int) -> dict[tuple[int, ...], float]:
    """Return the score of every label sequence of a row's tokens, by the definition."""
    logits = case["logits"][row, case["mask"][row] == 1].astype(np.float64)

    def score(path: tuple[int, ...]) -> float:
        inner = sum(case["transitions"][before, after] for before, after in itertools.pairwise(path))
        emitted = sum(logits[step, label] for step, label in enumerate(path))
        return float(case["start"][path[0]] + emitted + inner + case["end"][path[-1]])

    return {path: score(path) for path in itertools.product(range(logits.shape[1]), repeat=len(logits))}


@given(seed=SEEDS, length=st.integers(1, 5), labels=st.integers(2, 4))
@settings(deadline=None, max_examples=50)
def test_reference_by_brute_force(seed: int, length: int, labels: int) -> None:
    """The labels are those of the best of all sequences, their scores the share of the sequences that have them."""
    case = draw(seed, 2, length, labels)
    label_ids, scores = crf_reference(**case)
    for row in range(2):
        paths = enumerate_paths(case, row)
        best = max(paths, key=lambda path: paths[path])
        total = sum(np.exp(score) for score in paths.values())
        shares = [
            sum(np.exp(score) for path, score in paths.items() if path[step] == label) / total
            for step, label in enumerate(best)
        ]
        assert label_ids[row, : len(best)].tolist() == list(best)
        np.testing.assert_allclose(scores[row, : len(best)], shares, rtol=1e-5)
        assert not label_ids[row, len(best) :].any()
        assert not scores[row, len(best) :].any()


@pytest.fixture(scope="module")
def decode(tensorflow: Any) -> Callable[..., Any]:
    """Give the graph as it is exported: traced once for any batch and length, of 5 labels."""
    specs = [
        tensorflow.TensorSpec([None, None, 5]),
        tensorflow.TensorSpec([None, None], tensorflow.int32),
        tensorflow.TensorSpec([5, 5]),
        tensorflow.TensorSpec([5]),
        tensorflow.TensorSpec([5]),
    ]
    traced = tensorflow.function(crf_graph, input_signature=specs, autograph=False)

    def run(logits: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
        return [value.numpy() for value in traced(logits, mask, transitions, start, end)]

    return run


@pytest.mark.slow
@given(seed=SEEDS, batch=st.integers(1, 4), length=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_graph_equals_reference(decode: Callable[..., Any], seed: int, batch: int, length: int) -> None:
    """The graph finds the reference's labels and scores, for rows of any length."""
    case = draw(seed, batch, length, 5)
    for found, expected in zip(decode(**case), crf_reference(**case), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@given(seed=SEEDS, length=st.integers(1, 20), more=st.integers(1, 20))
@settings(deadline=None, max_examples=30)
def test_padding_does_not_matter(decode: Callable[..., Any], seed: int, length: int, more: int) -> None:
    """More padding, with any logits, changes neither labels nor scores."""
    case = draw(seed, 2, length, 5)
    noise = np.random.default_rng(seed).normal(scale=50, size=(2, length + more, 5)).astype(np.float32)
    mask = np.pad(case["mask"], ((0, 0), (0, more)))
    noise[mask == 1] = case["logits"][case["mask"] == 1]
    padded = decode(**{**case, "logits": noise, "mask": mask})
    for found, expected in zip(padded, decode(**case), strict=True):
        np.testing.assert_allclose(found[:, :length], expected, atol=1e-6)
        assert not found[:, length:].any()


@pytest.mark.slow
@pytest.mark.parametrize("forbidden", [pytest.param(-np.inf, id="infinity"), pytest.param(-1e4, id="1e4")])
def test_long_sequences_and_forbidden_steps(decode: Callable[..., Any], forbidden: float) -> None:
    """512 tokens with large logits lose no precision, and forbidden transitions, also by infinity, are not taken."""
    case = draw(3, 3, 512, 5, scale=8)
    case["transitions"][1, 2] = case["transitions"][4, 0] = case["start"][3] = case["end"][1] = forbidden
    found, expected = decode(**case), crf_reference(**case)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)
    for row, real in zip(found[0], case["mask"] == 1, strict=True):
        assert not {(1, 2), (4, 0)} & set(itertools.pairwise(row[real].tolist()))


# ---- what an export takes it from


class Tagger:
    """A model of an embedding, whose CRF's scores are attributes; `shown` are those among its outputs."""

    def __init__(self, tensorflow: Any, shown: Sequence[str] = (), *, boundaries: bool = False) -> None:
        random = np.random.default_rng(5)

        def weight(name: str, *shape: int) -> Any:
            return tensorflow.Variable(random.normal(scale=2, size=shape).astype(np.float32), name=name)

        self.embedding = weight("embedding", 400, len(LABELS))
        self.crf = SimpleNamespace(transitions=weight("transitions", len(LABELS), len(LABELS)))
        if boundaries:
            self.crf.start, self.crf.end = weight("start", len(LABELS)), weight("end", len(LABELS))
            self.crf.start[2].assign(-np.inf)
        self.shown = shown
        self.variables = self.trainable_variables = [self.embedding, *vars(self.crf).values()]

    def __call__(self, inputs: dict[str, Any], *, training: bool) -> dict[str, Any]:
        """Return logits, and the CRF's scores that are shown."""
        del training
        import tensorflow as tf

        tables = {name: tf.convert_to_tensor(getattr(self.crf, name)) for name in self.shown}
        return {"logits": tf.gather(self.embedding, inputs["input_ids"]), **tables}


@pytest.fixture
def export(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Export a tagger."""
    options: dict[str, Any] = {"task": "token-classification", "labels": LABELS, "max_length": 16}

    def run(model: Any, **more: Any) -> Any:
        tokenizer = checkpoint("BertModel")
        return export_bundle(model, name="crf", output=tmp_path / "m", tokenizer=tokenizer, **options, **more)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shown", "boundaries", "options"),
    [
        pytest.param(["transitions"], False, {}, id="returned"),
        pytest.param([], False, {"crf_transitions": "crf.transitions"}, id="named"),
        pytest.param(
            [],
            True,
            {"crf_transitions": "crf.transitions", "crf_start": "crf.start", "crf_end": "crf.end"},
            id="named with boundaries",
        ),
    ],
)
def test_crf_exports(
    export: Callable[..., Any], tensorflow: Any, shown: list[str], boundaries: bool, options: dict[str, Any]
) -> None:
    """A CRF that the model returns, or whose attributes are named, decodes in both formats as the reference does."""
    model = Tagger(tensorflow, shown, boundaries=boundaries)
    exported = export(model, **options)
    assert exported.manifest.label_decoding == "crf"
    assert {row.format for row in exported.manifest.parity} == {"saved_model", "onnx", "onnx_standard"}
    assert all(row.agreement == 1 for row in exported.manifest.parity)

    import onnxruntime

    ids, mask = np.arange(10, 30, dtype=np.int32).reshape(2, 10), np.ones((2, 10), np.int32)
    mask[1, 4:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    session = onnxruntime.InferenceSession(str(exported.path / "model.onnx"))
    names = [spec.name for spec in exported.manifest.outputs]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    tables = [getattr(model.crf, name).numpy() for name in ("transitions", *(["start", "end"] if boundaries else []))]
    label_ids, scores = crf_reference(model.embedding.numpy()[ids], mask, *tables)
    np.testing.assert_array_equal(found["label_ids"], label_ids)
    np.testing.assert_allclose(found["label_scores"], scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shown", "boundaries", "options", "message"),
    [
        pytest.param([], False, {}, r"do not depend on its weight transitions:0 \[5, 5\].*--crf-tr", id="idle"),
        pytest.param(["transitions"], True, {}, r"its weight start:0 \[5\], a table of a CRF", id="idle boundary"),
        pytest.param([], False, {"label_decoding": "crf"}, "the model returns no transitions", id="none"),
        pytest.param([], False, {"crf_transitions": "crf.matrix"}, "has no attribute crf.matrix", id="attribute"),
        pytest.param([], False, {"crf_transitions": "crf"}, "crf is a SimpleNamespace, expected", id="no table"),
        pytest.param([], False, {"crf_transitions": "embedding"}, r"shape \[400, 5\], .* need \[5, 5\]", id="shape"),
    ],
)
def test_crf_that_cannot_be(
    export: Callable[..., Any],
    tensorflow: Any,
    tmp_path: Path,
    shown: list[str],
    boundaries: bool,
    options: dict[str, Any],
    message: str,
) -> None:
    """A CRF that would be left out, is not there or does not fit is refused with what to do, and leaves nothing."""
    with pytest.raises(ExportError, match=message):
        export(Tagger(tensorflow, shown, boundaries=boundaries), **options)
    assert list((tmp_path / "m").rglob("*")) == []


@pytest.mark.slow
def test_transitions_that_were_not_loaded(export: Callable[..., Any], tensorflow: Any) -> None:
    """Transitions that are all alike are no CRF's: whoever loads weights by name may have missed them."""
    model = Tagger(tensorflow, ["transitions"])
    model.crf.transitions.assign(tensorflow.zeros_like(model.crf.transitions))
    with pytest.raises(ExportError, match="transitions are all 0: were its CRF's weights loaded and trained"):
        export(model)


@pytest.mark.slow
def test_crf_may_be_left_out(export: Callable[..., Any], tensorflow: Any) -> None:
    """Whoever says how to decode may decode without the transitions."""
    exported = export(Tagger(tensorflow), label_decoding="viterbi", formats=("onnx",))
    assert exported.manifest.label_decoding == "viterbi"
