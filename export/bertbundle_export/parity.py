"""Prove an exported format: its outputs against the source model's on real texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.errors import ExportError, OutputNamesError, OutputShapeError, ToleranceError
from bertbundle.manifest import InputSpec, OutputSpec, ParityRow
from bertbundle.primitives import Encoding, InputFeatures
from bertbundle.tokenizer import Tokenizer, pack
from bertbundle_export.tasks import Task

__all__ = ["ATOL", "MIN_AGREEMENT", "RTOL", "Case", "compare", "make_features", "onnx_runner", "saved_model_runner"]

# float32 sums in another order: seen 2e-6 (MiniLM) to 5e-6 (3x128 logits of size 10), with a margin of twenty.
RTOL, ATOL = 1e-4, 1e-4
# Where two label sequences score nearly alike, rounding decides between them: one token in a thousand may.
MIN_AGREEMENT = 0.999
MOST_TEXTS = 256

Arrays = Mapping[str, npt.NDArray[Any]]
Runner = Callable[[InputFeatures], Arrays]


@dataclass(frozen=True, slots=True)
class Case:
    """One signature's inputs and what the source model answers to them."""

    features: InputFeatures
    expected: Arrays


def make_features(
    tokenizer: Tokenizer, texts: Sequence[str], *, signatures: Mapping[str, int], inputs: Sequence[InputSpec]
) -> list[InputFeatures]:
    """Make each signature's batch: every text cut to its length, and all of them joined so that one row fills it.

    Raises:
        ExportError: more texts than one batch can be made of.
        InputError: an empty text.
    """
    if len(texts) > MOST_TEXTS:
        raise ExportError(f"{len(texts)} texts were given to prove the export on. Give at most {MOST_TEXTS}.")
    singles = tokenizer.encode(list(texts), truncation="truncate")
    joined = tokenizer.encode([" ".join(texts), " ".join(texts[::-1])], truncation="truncate")
    features = []
    for signature, length in signatures.items():
        rows = [_cut(encoding, length) for encoding in (*singles, *joined)]
        features.append(pack(rows, signature, length=length, inputs=inputs))
    return features


def _cut(encoding: Encoding, length: int) -> Encoding:
    """Keep the first tokens of an encoding and its last one, [SEP]."""
    if len(encoding) <= length:
        return encoding

    def cut(values: Any) -> Any:
        return (*values[: length - 1], values[-1])

    return Encoding(
        cut(encoding.ids),
        cut(encoding.type_ids),
        cut(encoding.tokens),
        cut(encoding.offsets),
        cut(encoding.word_ids),
        cut(encoding.sequence_ids),
    )


def saved_model_runner(path: Path) -> Runner:
    """Load a SavedModel from disk and return a function that runs its signatures."""
    from bertbundle_export.quiet import tf

    loaded = tf.saved_model.load(str(path))

    def run(features: InputFeatures) -> Arrays:
        inputs = {name: tf.constant(value) for name, value in features.inputs.items()}
        return {name: value.numpy() for name, value in loaded.signatures[features.signature](**inputs).items()}

    return run


def onnx_runner(path: Path) -> Runner:
    """Load an ONNX file from disk and return a function that runs it at any signature's length."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(features: InputFeatures) -> Arrays:
        return dict(zip(names, session.run(names, dict(features.inputs)), strict=True))

    return run


def compare(
    format_name: str, run: Runner, cases: Sequence[Case], *, outputs: Sequence[OutputSpec], task: Task
) -> list[ParityRow]:
    """Hold a format against the source model, for every signature and output.

    Of outputs with one value per token those of padding are left out: nothing attends to them and nobody reads them,
    and a few of them magnify rounding (MiniLM: 1.6e-4 at padding, 3.7e-6 at every token).

    Args:
        format_name: for the rows and messages.
        run: runs the format.
        cases: inputs and expected outputs, by signature.
        outputs: what the bundle says of its outputs.
        task: says which outputs hold classes, or ranks.

    Returns:
        One row per signature and output.

    Raises:
        OutputNamesError: other outputs.
        OutputShapeError: another shape or dtype.
        ToleranceError: a difference beyond `RTOL` and `ATOL`, or labels that agree less than `MIN_AGREEMENT`.
    """
    per_token = {spec.name for spec in outputs if "length" in spec.shape}
    return [row for case in cases for row in _compare_case(format_name, run(case.features), case, per_token, task)]


def _compare_case(format_name: str, actual: Arrays, case: Case, per_token: set[str], task: Task) -> list[ParityRow]:
    signature = case.features.signature
    tokens = case.features.inputs["attention_mask"] == 1
    where = f"{format_name} {signature}"
    if actual.keys() != case.expected.keys():
        raise OutputNamesError(f"{where} has outputs {sorted(actual)}, the source model {sorted(case.expected)}.")
    rows = []
    for name, expected in sorted(case.expected.items()):
        agree = _agreement_rule(name, task, case.expected)
        mask = tokens if name in per_token else np.ones(len(tokens), bool)
        rows.append(_compare_output((format_name, signature, name), actual[name], expected, mask, agree))
    return rows


def _compare_output(
    place: tuple[str, str, str],
    actual: npt.NDArray[Any],
    expected: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    agree: Callable[..., float],
) -> ParityRow:
    format_name, signature, name = place
    where = f"{format_name} {signature} output {name}"
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        raise OutputShapeError(
            f"{where} is {actual.dtype}{list(actual.shape)}, the source model's {expected.dtype}{list(expected.shape)}."
        )
    rows = len(expected)
    actual, expected = actual[mask], expected[mask]
    # A NaN would make every comparison below pass.
    if not np.isfinite(actual).all() or not np.isfinite(expected).all():
        raise ToleranceError(f"{where} has values that are not finite.")
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    row = ParityRow(
        format=format_name,
        signature=signature,
        output=name,
        rows=rows,
        max_abs=float(difference.max(initial=0.0)),
        max_rel=float(difference.max(initial=0.0) / max(float(np.abs(expected).max(initial=0.0)), 1e-12)),
        agreement=agree(actual, expected, mask) if expected.size else 1.0,
        rtol=RTOL,
        atol=ATOL,
    )
    within = expected.dtype.kind != "f" or bool((difference <= ATOL + RTOL * np.abs(expected)).all())
    if not within or row.agreement < MIN_AGREEMENT:
        raise ToleranceError(
            f"{where} differs from the source model by up to {row.max_abs:.3g} (allowed: {ATOL} + {RTOL} of it), "
            f"labels agree in {row.agreement:.2%} (at least {MIN_AGREEMENT:.1%})."
        )
    return row


# ---- what agrees: each rule takes actual and expected values, and the mask they were picked by


def _agreement_rule(name: str, task: Task, expected: Arrays) -> Callable[..., float]:
    if name in task.classes:
        return _same_class
    if name in task.ranked:
        return lambda actual, wanted, mask: _same_ranks(actual, wanted, expected[task.ranked[name]][mask])
    return _same_labels if expected[name].dtype.kind != "f" else _numbers_only


def _same_class(actual: npt.NDArray[Any], expected: npt.NDArray[Any], mask: object) -> float:
    """Return the share of equal best classes; one that the source itself scores like its best may take its place."""
    del mask
    best = expected.max(axis=-1)
    chosen = np.take_along_axis(expected, actual.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return float((best - chosen <= 2 * (ATOL + RTOL * np.abs(best))).mean())


def _same_ranks(actual: npt.NDArray[Any], expected: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
    """Return the share of equal ids among those whose score is apart from their neighbours', the cut-off included."""
    gaps = -np.diff(scores, axis=-1) > 2 * (ATOL + RTOL * scores[..., 1:])
    apart = np.ones(scores.shape, bool)
    apart[..., 1:] &= gaps
    apart[..., :-1] &= gaps
    apart[..., -1] = False
    return float((actual == expected)[apart].mean()) if apart.any() else 1.0


def _same_labels(actual: npt.NDArray[Any], expected: npt.NDArray[Any], mask: object) -> float:
    del mask
    return float((actual == expected).mean())


def _numbers_only(actual: object, expected: object, mask: object) -> float:
    del actual, expected, mask
    return 1.0
