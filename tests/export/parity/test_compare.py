"""The comparison of an exported format with the source model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bertbundle.contract.manifest import OutputSpec, ParityRow
from bertbundle.contract.types import InputFeatures
from bertbundle_export.errors import ExportError, OutputNamesError, OutputShapeError, ToleranceError
from bertbundle_export.parity.compare import Case, compare
from bertbundle_export.tasks import TASKS
from bertbundle_export.tolerance import TOLERANCES

SPECS = (
    OutputSpec("logits", "float32", ("batch", "length", "3")),
    OutputSpec("label_ids", "int32", ("batch", "length")),
    OutputSpec("pooler_output", "float32", ("batch", "4")),
)


SCORED = {"label_ids": "int32", "label_scores": "float32"}


Outputs = dict[str, np.ndarray[Any, Any]]


def expected() -> Outputs:
    """Return the source model's outputs: two rows of length 4, the second one padded by two."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 4, 3)).astype(np.float32)
    pooled = random.normal(size=(2, 4)).astype(np.float32)
    return {"logits": logits, "label_ids": logits.argmax(-1).astype(np.int32), "pooler_output": pooled}


def run(actual: Mapping[str, np.ndarray[Any, Any]], precision: str = "float32") -> list[ParityRow]:
    """Compare outputs with the expected ones."""
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32)
    case = Case(InputFeatures("length_4", {"attention_mask": mask}), expected())
    options: dict[str, Any] = {"task": TASKS["token-classification"], "tolerance": TOLERANCES[precision]}
    return compare("onnx", lambda _: actual, [case], outputs=SPECS, **options)


def changed(name: str, index: tuple[int, ...], value: float) -> Outputs:
    """Return the expected outputs with one value replaced."""
    outputs = expected()
    outputs[name][index] = value
    return outputs


def test_equal_outputs_pass() -> None:
    """Equal outputs give one row each, with no difference and full agreement."""
    rows = run(expected())
    assert [(row.output, row.max_abs, row.agreement, row.rows) for row in rows] == [
        ("label_ids", 0.0, 1.0, 2),
        ("logits", 0.0, 1.0, 2),
        ("pooler_output", 0.0, 1.0, 2),
    ]
    assert {(row.rtol, row.atol) for row in rows} == {(TOLERANCES["float32"].rtol, TOLERANCES["float32"].atol)}


def test_padding_is_left_out_of_outputs_per_token() -> None:
    """Padding is left out of outputs per token; another output of the same shape is compared as a whole."""
    assert all(row.max_abs == 0 for row in run(changed("logits", (1, 3, 0), 100.0)))
    with pytest.raises(ToleranceError):
        run(changed("pooler_output", (1, 3), 100.0))


def test_difference_is_measured() -> None:
    """A difference within the tolerance passes and is reported."""
    value = float(expected()["logits"][0, 0, 0])
    row = run(changed("logits", (0, 0, 0), value + 5e-5))[1]
    assert row.max_abs == pytest.approx(5e-5, rel=0.01)


def test_bfloat16_tolerance_is_relative_to_the_largest_value() -> None:
    """In bfloat16 an output may differ by a share of its largest value, and labels must still agree."""
    peak = float(np.abs(expected()["pooler_output"]).max())
    for share, passes in ((0.04, True), (0.06, False)):
        actual = changed("pooler_output", (0, 0), float(expected()["pooler_output"][0, 0]) + share * peak)
        if passes:
            row = next(row for row in run(actual, "bfloat16") if row.output == "pooler_output")
            assert row.atol == pytest.approx(0.05 * peak)
        else:
            with pytest.raises(ToleranceError, match="differs"):
                run(actual, "bfloat16")
    with pytest.raises(ToleranceError, match=r"83\.33% of labels agree with the source model's"):
        run(changed("label_ids", (0, 1), 9), "bfloat16")


def test_label_agreement_over_all_signatures() -> None:
    """The share of equal labels is computed over all signatures; if it is too low, the worst one is named."""
    sizes = {"length_4": 4, "length_200": 200}
    cases = [
        Case(InputFeatures(name, {"attention_mask": ones}), {"label_ids": ones})
        for name, ones in ((name, np.ones((1, size), np.int32)) for name, size in sizes.items())
    ]
    options: dict[str, Any] = {"task": TASKS["token-classification"], "tolerance": TOLERANCES["bfloat16"]}
    specs = [OutputSpec("label_ids", "int32", ("batch", "length"))]

    def compare_with_errors(wrong: int) -> list[ParityRow]:
        def run(features: InputFeatures) -> Outputs:
            values = features.inputs["attention_mask"].copy()
            values[0, : wrong if features.signature == "length_4" else 0] = 2
            return {"label_ids": values}

        return compare("onnx", run, cases, outputs=specs, **options)

    assert [row.agreement for row in compare_with_errors(2)] == [0.5, 1.0]
    with pytest.raises(
        ToleranceError,
        match=r"98\.53% of labels agree .* at least 99\.0% must\. The worst signature is length_4 \(25\.00%\)",
    ):
        compare_with_errors(3)


def test_scores_of_other_labels_are_left_out() -> None:
    """A label's score is compared only where the labels agree: a different label has a different score."""
    tokens = np.ones((1, 200), np.int32)
    specs = [OutputSpec(name, dtype, ("batch", "length")) for name, dtype in SCORED.items()]
    source = {"label_ids": tokens, "label_scores": tokens.astype(np.float32)}
    case = Case(InputFeatures("length_200", {"attention_mask": tokens}), source)
    options: dict[str, Any] = {"task": TASKS["token-classification"], "tolerance": TOLERANCES["int8"]}
    other = {name: values.copy() for name, values in source.items()}
    other["label_scores"][0, 7] = 0.1
    with pytest.raises(ToleranceError, match="label_scores differs"):
        compare("onnx", lambda _: other, [case], outputs=specs, **options)
    other["label_ids"][0, 7] = 2
    rows = compare("onnx", lambda _: other, [case], outputs=specs, **options)
    assert [(row.output, row.agreement, row.max_abs) for row in rows] == [
        ("label_ids", 0.995, 1.0),
        ("label_scores", 1.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("actual", "error", "message"),
    [
        pytest.param({"logits": expected()["logits"]}, OutputNamesError, "has outputs", id="names"),
        pytest.param(
            expected() | {"logits": expected()["logits"][:, :3]}, OutputShapeError, r"\[2, 3, 3\]", id="shape"
        ),
        pytest.param(
            expected() | {"logits": expected()["logits"].astype(np.float64)}, OutputShapeError, "float64", id="dtype"
        ),
        pytest.param(changed("logits", (0, 0, 0), 7.0), ToleranceError, "differs", id="value"),
        pytest.param(changed("logits", (0, 0, 0), np.nan), ToleranceError, "not finite", id="nan"),
        pytest.param(changed("label_ids", (0, 1), 9), ToleranceError, "of labels agree", id="label"),
    ],
)
def test_differences_are_refused(actual: Outputs, error: type[ExportError], message: str) -> None:
    """Different names, shapes, dtypes, values or labels, and NaN raise an error."""
    with pytest.raises(error, match=message):
        run(actual)
