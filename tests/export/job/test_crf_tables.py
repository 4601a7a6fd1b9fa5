"""The tables of a CRF: outputs of the model, or attributes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bertbundle_export import export_bundle
from bertbundle_export.errors import ExportError
from bertbundle_export.tasks.crf import crf_reference
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow


class Tagger:
    """A model with an embedding, and a CRF's scores as attributes; `returned` names the scores that it returns."""

    def __init__(self, tensorflow: Any, returned: Sequence[str] = (), *, boundaries: bool = False) -> None:
        random = np.random.default_rng(5)

        def weight(name: str, *shape: int) -> Any:
            return tensorflow.Variable(random.normal(scale=2, size=shape).astype(np.float32), name=name)

        self.embedding = weight("embedding", 400, len(LABELS))
        self.crf = SimpleNamespace(transitions=weight("transitions", len(LABELS), len(LABELS)))
        if boundaries:
            self.crf.start, self.crf.end = weight("start", len(LABELS)), weight("end", len(LABELS))
            self.crf.start[2].assign(-np.inf)
        self.returned = returned
        self.variables = self.trainable_variables = [self.embedding, *vars(self.crf).values()]

    def __call__(self, inputs: dict[str, Any], *, training: bool) -> dict[str, Any]:
        """Return logits, and the CRF's scores that are returned."""
        del training
        import tensorflow as tf

        tables = {name: tf.convert_to_tensor(getattr(self.crf, name)) for name in self.returned}
        return {"logits": tf.gather(self.embedding, inputs["input_ids"]), **tables}


@pytest.fixture
def export(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Export a tagger."""
    options: dict[str, Any] = {"task": "token-classification", "labels": LABELS, "max_length": 16}

    def run(model: Any, **extra: Any) -> Any:
        tokenizer = checkpoint("BertModel")
        return export_bundle(model, name="crf", output=tmp_path / "m", tokenizer=tokenizer, **options, **extra)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("returned", "boundaries", "options"),
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
    export: Callable[..., Any], tensorflow: Any, returned: list[str], boundaries: bool, options: dict[str, Any]
) -> None:
    """A CRF whose tables are outputs or named attributes decodes in all formats as the reference does."""
    model = Tagger(tensorflow, returned, boundaries=boundaries)
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
    ("returned", "boundaries", "options", "message"),
    [
        pytest.param([], False, {}, r"do not depend on its weight transitions:0 \[5, 5\].*--crf-tr", id="unused"),
        pytest.param(
            ["transitions"], True, {}, r"its weight start:0 \[5\]\. If it is a table of a CRF", id="unused boundary"
        ),
        pytest.param([], False, {"label_decoding": "crf"}, "the model returns no transitions", id="none"),
        pytest.param([], False, {"crf_transitions": "crf.matrix"}, "has no attribute crf.matrix", id="attribute"),
        pytest.param([], False, {"crf_transitions": "crf"}, "crf is a SimpleNamespace, expected", id="no table"),
        pytest.param([], False, {"crf_transitions": "embedding"}, r"shape \[400, 5\], .* need \[5, 5\]", id="shape"),
    ],
)
def test_invalid_crf_tables(
    export: Callable[..., Any],
    tensorflow: Any,
    tmp_path: Path,
    returned: list[str],
    boundaries: bool,
    options: dict[str, Any],
    message: str,
) -> None:
    """A CRF that would be ignored, is missing or has a wrong shape raises an error, and no files are left."""
    with pytest.raises(ExportError, match=message):
        export(Tagger(tensorflow, returned, boundaries=boundaries), **options)
    assert list((tmp_path / "m").rglob("*")) == []


@pytest.mark.slow
def test_transitions_that_were_not_loaded(export: Callable[..., Any], tensorflow: Any) -> None:
    """Constant transitions are refused, because loading weights by name may have missed them."""
    model = Tagger(tensorflow, ["transitions"])
    model.crf.transitions.assign(tensorflow.zeros_like(model.crf.transitions))
    with pytest.raises(ExportError, match="transitions are all 0: were its CRF's weights trained and loaded"):
        export(model)


@pytest.mark.slow
def test_crf_may_be_ignored(export: Callable[..., Any], tensorflow: Any) -> None:
    """With an explicit label decoding, a model can be exported without its CRF."""
    exported = export(Tagger(tensorflow), label_decoding="viterbi", formats=("onnx",))
    assert exported.manifest.label_decoding == "viterbi"
