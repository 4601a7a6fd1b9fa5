"""Prove an exported format: its outputs against the source model's on real texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle._shared.cpu_features import EXACT_INT8
from bertbundle._shared.onnxruntime_loader import import_onnxruntime
from bertbundle.contract.manifest import InputSpec, OutputSpec, ParityRow
from bertbundle.contract.types import Encoding, InputFeatures
from bertbundle.text.features import pad_encodings
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.errors import ExportError, OutputNamesError, OutputShapeError, ToleranceError
from bertbundle_export.parity.agreement import agreement_rule
from bertbundle_export.tasks import Task
from bertbundle_export.tolerance import TOLERANCES, Tolerance

__all__ = ["TOLERANCES", "Case", "Runner", "Tolerance", "compare", "make_features", "onnx_runner", "saved_model_runner"]


MOST_TEXTS = 256
# Up to this length some batches have every text.
_ALL_TEXTS = 128

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
    """Make each signature's batch: texts cut to its length, and all of them joined so that one row fills it.

    All texts are in the shortest batch and in each that is twice as long as the last with all of them, up to 128
    tokens. From the others a text that the next shorter signature holds whole is left out, for it would only be padded
    more; the longest of all texts is there always.

    Raises:
        ExportError: more texts than one batch can be made of.
        InputError: an empty text.
    """
    if len(texts) > MOST_TEXTS:
        raise ExportError(f"{len(texts)} texts were given to prove the export on. Give at most {MOST_TEXTS}.")
    singles = tokenizer.encode(list(texts), truncation="truncate")
    joined = tokenizer.encode([" ".join(texts), " ".join(texts[::-1])], truncation="truncate")
    longest = max(singles, key=len)
    features, shorter, whole = [], 0, 0
    for signature, length in signatures.items():
        every = 2 * whole <= length <= _ALL_TEXTS
        held, whole = (0, length) if every else (shorter, whole)
        chosen = [encoding for encoding in singles if encoding is longest or len(encoding) > held]
        rows = [_cut(encoding, length) for encoding in (*chosen, *joined)]
        features.append(pad_encodings(rows, signature, length=length, inputs=inputs))
        shorter = length
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
    from bertbundle_export.tensorflow_import import tf

    loaded = tf.saved_model.load(str(path))

    def run(features: InputFeatures) -> Arrays:
        inputs = {name: tf.constant(value) for name, value in features.inputs.items()}
        return {name: value.numpy() for name, value in loaded.signatures[features.signature](**inputs).items()}

    return run


def onnx_runner(path: Path) -> Runner:
    """Load an ONNX file from disk and return a function that runs it at any signature's length."""
    onnxruntime = import_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry(*EXACT_INT8)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no base of theirs
        raise ExportError(
            f"onnxruntime cannot load what the model became: {error}. A model that computes in another dtype than "
            "float32 (mixed precision) is to be made anew under set_global_policy('float32'), with its weights."
        ) from error
    names = [output.name for output in session.get_outputs()]

    def run(features: InputFeatures) -> Arrays:
        return dict(zip(names, session.run(names, dict(features.inputs)), strict=True))

    return run


def compare(
    format_name: str,
    run: Runner,
    cases: Sequence[Case],
    *,
    outputs: Sequence[OutputSpec],
    task: Task,
    tolerance: Tolerance = TOLERANCES["float32"],
) -> list[ParityRow]:
    """Hold a format against the source model: the values for every signature and output, the labels for every output.

    In bfloat16 and int8 the share of labels that agree is asked of the signatures together, for they are one set of
    weights: a single one may have few tokens, of which each would count for half a percent. In float32 it is of each.

    Of outputs with one value per token those of padding are left out: nothing attends to them and nobody reads them,
    and a few of them magnify rounding (MiniLM: 1.6e-4 at padding, 3.7e-6 at every token).

    Args:
        format_name: for the rows and messages.
        run: runs the format.
        cases: inputs and expected outputs, by signature.
        outputs: what the bundle says of its outputs.
        task: says which outputs hold classes, or ranks.
        tolerance: that of the format's precision.

    Returns:
        One row per signature and output.

    Raises:
        OutputNamesError: other outputs.
        OutputShapeError: another shape or dtype.
        ToleranceError: a difference beyond the tolerance, or labels that agree less than it says.
    """
    per_token = {spec.name for spec in outputs if "length" in spec.shape}
    compared = [
        pair
        for case in cases
        for pair in _compare_case((format_name, task, tolerance), run(case.features), case, per_token)
    ]
    for name in sorted({row.output for row, _ in compared}):
        alike = [(row, size) for row, size in compared if row.output == name]
        for group in [alike] if tolerance.peak else [[pair] for pair in alike]:
            _check_agreement(group, tolerance.agreement)
    return [row for row, _ in compared]


def _check_agreement(compared: Sequence[tuple[ParityRow, int]], least: float) -> None:
    """Check what share of the labels of one output agrees, in all signatures together."""
    total = sum(size for _, size in compared)
    agreement = sum(row.agreement * size for row, size in compared) / total if total else 1.0
    if agreement < least:
        worst = min((row for row, _ in compared), key=lambda row: row.agreement)
        raise ToleranceError(
            f"{worst.format} output {worst.output}: labels agree with the source model's in {agreement:.2%} (at least "
            f"{least:.1%}), worst in {worst.signature} ({worst.agreement:.2%})."
        )


def _compare_case(
    rules: tuple[str, Task, Tolerance], actual: Arrays, case: Case, per_token: set[str]
) -> list[tuple[ParityRow, int]]:
    """Return a row for each output, and how many rows or tokens it is about."""
    format_name, task, tolerance = rules
    signature = case.features.signature
    tokens = case.features.inputs["attention_mask"] == 1
    where = f"{format_name} {signature}"
    if actual.keys() != case.expected.keys():
        raise OutputNamesError(f"{where} has outputs {sorted(actual)}, the source model {sorted(case.expected)}.")
    rows = []
    for name, expected in sorted(case.expected.items()):
        mask = tokens if name in per_token else np.ones(len(tokens), bool)
        if choice := task.scored.get(name):
            mask = mask & (actual[choice] == case.expected[choice])
        agree = agreement_rule(name, task, case.expected, mask)
        key = (format_name, signature, name)
        rows.append((_compare_output(key, actual[name], expected, mask, agree, tolerance), int(mask.sum())))
    return rows


def _compare_output(
    key: tuple[str, str, str],
    actual: npt.NDArray[Any],
    expected: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    agree: Callable[..., float],
    tolerance: Tolerance,
) -> ParityRow:
    where = "{} {} output {}".format(*key)
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
    peak = float(np.abs(expected).max(initial=0.0))
    atol = tolerance.atol + tolerance.peak * peak
    row = ParityRow(
        *key,
        rows=rows,
        max_abs=float(difference.max(initial=0.0)),
        max_rel=float(difference.max(initial=0.0) / max(peak, 1e-12)),
        agreement=agree(actual, expected) if expected.size else 1.0,
        rtol=tolerance.rtol,
        atol=atol,
    )
    within = expected.dtype.kind != "f" or bool((difference <= atol + tolerance.rtol * np.abs(expected)).all())
    if not within:
        raise ToleranceError(
            f"{where} differs from the source model by up to {row.max_abs:.3g} (allowed: {atol:.3g} + "
            f"{tolerance.rtol:g} of it)."
        )
    return row
