"""Verify what was written: compare each format with the source model, then write the final manifest."""

from __future__ import annotations

import dataclasses
import gc
import shutil
from collections.abc import Sequence
from pathlib import Path

from bertbundle.contract.manifest import MANIFEST_FILE, TOKENIZER_FILE, Manifest, ParityRow
from bertbundle.decoding.decoders import DECODERS
from bertbundle.decoding.loaded_model import load_model
from bertbundle.session.batches import requested_outputs
from bertbundle_export.bundle import digest_files
from bertbundle_export.errors import ToleranceError
from bertbundle_export.job.plan import Plan
from bertbundle_export.onnx_files.float16 import write_rounding
from bertbundle_export.onnx_files.variants import ONNX_FILES
from bertbundle_export.parity.compare import compare
from bertbundle_export.report import Reporter
from bertbundle_export.runners import Runner, onnx_runner, saved_model_runner
from bertbundle_export.tolerance import TOLERANCES
from bertbundle_export.warmup import write_warmup

__all__ = ["verify_onnx", "verify_saved_model", "write_final_manifest"]


_IMPRECISE = "is too imprecise for this model on these texts"
_LIMITS = {"float16": f"{_IMPRECISE}, or a value is larger than its largest, 65504"}


def verify_saved_model(directory: Path, plan: Plan, reporter: Reporter) -> list[ParityRow]:
    """Compare the SavedModel with the source model, then free its memory, which is as large as the model.

    Raises:
        OutputNamesError, OutputShapeError, ToleranceError: its outputs differ.
    """
    with reporter.stage("compare the SavedModel with the source"):
        rows = _compare(plan, "saved_model", saved_model_runner(directory), plan.traced.precision)
        gc.collect()  # a loaded SavedModel is full of reference cycles
    return rows


def verify_onnx(directory: Path, plan: Plan, reporter: Reporter) -> list[ParityRow]:
    """Compare the ONNX files with the source model.

    Raises:
        OutputNamesError, OutputShapeError, ToleranceError: their outputs differ.
        ExportError: onnxruntime cannot load one of them.
    """
    rows: list[ParityRow] = []
    with reporter.stage("compare the ONNX models with the source"):
        for file, format_name in ONNX_FILES.items():
            path = directory / file
            compared = _compare(plan, format_name, onnx_runner(path), plan.onnx_precision)
            rows += _compare_rounded(plan, format_name, path) if plan.onnx_precision == "float16" else compared
    return rows


def _compare_rounded(plan: Plan, format_name: str, path: Path) -> list[ParityRow]:
    """Compare what a file in float16 computes where every result is rounded to float16, as on a GPU."""
    rounding = path.with_suffix(".rounding.onnx")
    write_rounding(path, rounding)
    try:
        return _compare(plan, format_name, onnx_runner(rounding), "float16")
    finally:
        rounding.unlink()


def _compare(plan: Plan, format_name: str, run: Runner, precision: str) -> list[ParityRow]:
    tolerance = TOLERANCES[precision]
    try:
        return compare(
            format_name,
            run,
            plan.cases,
            outputs=plan.outputs,
            task=plan.task,
            tolerance=tolerance,
            span_threshold=plan.head.span_threshold,
        )
    except ToleranceError as error:
        if precision == "float32":
            raise
        raise ToleranceError(
            f"{error} {precision} {_LIMITS.get(precision, _IMPRECISE)}. Export with --precision float32, or give "
            "typical texts with --texts."
        ) from error


def write_final_manifest(
    directory: Path, plan: Plan, draft: Manifest, rows: Sequence[ParityRow], reporter: Reporter
) -> Manifest:
    """Write the warmup records, and the manifest with parity rows and file digests; return the manifest."""
    with reporter.stage("write warmup records and the manifest"):
        write_warmup(directory, plan.name, [case.features for case in plan.cases], _client_outputs(directory, draft))
        manifest = dataclasses.replace(draft, parity=tuple(rows), files=digest_files(directory))
        (directory / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        if (directory / "assets").is_dir():
            shutil.copyfile(directory / MANIFEST_FILE, directory / "assets" / MANIFEST_FILE)
    return manifest


def _client_outputs(directory: Path, manifest: Manifest) -> tuple[str, ...]:
    """Return the outputs that the client requests for the model's task."""
    tokenizer = (directory / TOKENIZER_FILE).read_text(encoding="utf-8")
    return requested_outputs(DECODERS[manifest.task], load_model(manifest, tokenizer, 1))
