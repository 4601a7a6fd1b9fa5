"""Write what a plan describes: tokenizer, manifest, SavedModel and ONNX files."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
from pathlib import Path

from bertbundle.contract.heads import Head
from bertbundle.contract.manifest import MANIFEST_FILE, SCHEMA_VERSION, TOKENIZER_FILE, Manifest
from bertbundle.contract.word_segmenter import WORD_SEGMENTER, WordSegmenter
from bertbundle_export.job.plan import Plan
from bertbundle_export.onnx_files.converter import save_onnx
from bertbundle_export.report import Reporter
from bertbundle_export.saved_model.tracing import trace_unpatched
from bertbundle_export.saved_model.writer import save_model
from bertbundle_export.source.model import SourceModel
from bertbundle_export.source.tokenization import is_lowercase

__all__ = ["write_manifest_draft", "write_onnx", "write_saved_model"]

_ANALYZERS = {"basic": (), "mecab": ("fugashi",), "sudachi": ("sudachipy",)}
_GENERATORS = ("bertbundle-toolkit", "tensorflow", "transformers", "tf2onnx", "onnx")


def write_manifest_draft(directory: Path, plan: Plan) -> Manifest:
    """Make the directory, write the tokenizer and a manifest without parity and files, and return the manifest."""
    draft = _manifest_draft(plan)
    directory.mkdir()
    (directory / TOKENIZER_FILE).write_text(_tokenizer_definition(plan.model), encoding="utf-8")
    (directory / MANIFEST_FILE).write_text(draft.to_json(), encoding="utf-8")
    return draft


def _tokenizer_definition(model: SourceModel) -> str:
    """Return the tokenizer's definition; one that needs a word segmenter is marked so that none works without it."""
    if model.word_segmenter is None:
        return str(model.tokenizer.to_str())
    data = json.loads(model.tokenizer.to_str()) | {"pre_tokenizer": {"type": WORD_SEGMENTER}}
    return json.dumps(data, ensure_ascii=False)


def _manifest_draft(plan: Plan) -> Manifest:
    model, head = plan.model, plan.head
    return Manifest(
        name=plan.name,
        task=model.task,
        max_length=plan.signatures["serving_default"],
        signatures=plan.signatures,
        inputs=model.inputs,
        outputs=plan.outputs,
        precision=plan.precision,
        source=model.source,
        tokenizer_lowercase=model.word_segmenter.lowercase if model.word_segmenter else is_lowercase(model.tokenizer),
        labels=head.labels,
        label_scheme=head.label_scheme,
        label_decoding=head.label_decoding,
        word_labels=plan.options.word_labels,
        multi_label=head.multi_label,
        pooling=head.pooling,
        last_layers=head.last_layers,
        normalized=head.normalized,
        mask_token=head.mask_token,
        top_k=head.top_k,
        span_threshold=head.span_threshold,
        prompt=model.prompt,
        added_tokens=model.added_tokens,
        heads={name: _manifest_head(plan, name) for name in model.heads},
        word_segmenter=model.word_segmenter,
        generator=_generator(model.word_segmenter),
        created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        notes=plan.notes,
        schema_version=SCHEMA_VERSION if model.word_segmenter else 1,
    )


def _manifest_head(plan: Plan, name: str) -> Head:
    spec, config = plan.model.heads[name], plan.head.heads[name]
    return Head(
        task=spec.task,
        labels=config.labels,
        label_scheme=config.label_scheme,
        label_decoding=config.label_decoding,
        word_labels=spec.word_labels,
        multi_label=config.multi_label,
    )


def _generator(segmenter: WordSegmenter | None) -> dict[str, str]:
    """Return the versions of the packages that write a bundle, and of those that split its texts into words."""
    names = _ANALYZERS[segmenter.analyzer] if segmenter else ()
    versions = {name: importlib.metadata.version(name) for name in (*_GENERATORS, *names)}
    return versions | ({segmenter.dictionary: segmenter.dictionary_version} if names and segmenter else {})


def write_saved_model(directory: Path, plan: Plan, reporter: Reporter) -> None:
    """Write the SavedModel; its assets are files that `write_manifest_draft` must have written."""
    with reporter.stage("write the SavedModel"):
        save_model(directory, plan.traced, plan.model.inputs, signatures=plan.signatures, assets=directory)


def write_onnx(directory: Path, plan: Plan, reporter: Reporter) -> None:
    """Convert the traced model to the ONNX files."""
    with reporter.stage("convert to ONNX"):
        save_onnx(
            directory,
            plan.traced,
            inputs=plan.model.inputs,
            outputs=plan.outputs,
            precision=plan.onnx_precision,
            retrace=lambda: trace_unpatched(plan.model, plan.head),
        )
