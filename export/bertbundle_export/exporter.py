"""Export a BERT, from a checkpoint or a live Keras model, to a bundle on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from bertbundle.contract.manifest import Manifest, ParityRow
from bertbundle.text.added_tokens import recognize_added_tokens
from bertbundle_export.bundle import check_target, publish, staging_directory
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.live import live_model
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import ExportError
from bertbundle_export.job.crf_tables import add_tables
from bertbundle_export.job.heads import bind_heads, checked_heads, errors_of_head
from bertbundle_export.job.plan import Plan, make_plan
from bertbundle_export.job.verify import verify_onnx, verify_saved_model, write_final_manifest
from bertbundle_export.job.write import write_manifest_draft, write_onnx, write_saved_model
from bertbundle_export.options import ExportOptions, check_options_apply
from bertbundle_export.report import Reporter, SilentReporter
from bertbundle_export.source.japanese import check_no_segmenter
from bertbundle_export.source.model import SourceModel, check_compute_dtype, fixed_length
from bertbundle_export.source.text_preparation import add_prompt
from bertbundle_export.source.tokenization import split_characters
from bertbundle_export.tasks import as_labels

__all__ = ["Exported", "export_bundle"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished bundle: its version directory and its manifest."""

    path: Path
    manifest: Manifest


def export_bundle(
    source: Any,
    *,
    name: str,
    output: str | Path = "models",
    version: int | None = None,
    tokenizer: tokenizers.Tokenizer | str | Path | None = None,
    task: str | None = None,
    labels: Sequence[str] | None = None,
    heads: Mapping[str, Any] | None = None,
    load: LoadOptions | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Exported:
    """Export a BERT to ``output/name/version``.

    Args:
        source: a checkpoint (directory, file or archive), a hub name, or a live Keras model (a `TFBertPreTrainedModel`
            subclass, or any model that takes the inputs by name in a dict).
        name: model name.
        output: directory of the models.
        version: version number; None for the next free one.
        tokenizer: for a live model, a `tokenizers.Tokenizer`, a directory or a vocab.txt. For a checkpoint, a directory
            or vocab.txt that replaces its own tokenizer.
        task: a key of `TASKS`; None for the source's task.
        labels: label of each class index; None for the source's labels.
        heads: for a model with several heads, instead of task and labels: the task and labels of each head, or a
            `HeadSpec`, by name. Names are those of the model's outputs: the keys of the dict that it returns, or the
            names of its output layers.
        load: other facts about the source that its files do not state.
        reporter: receives the progress; None reports nothing.
        **options: see `ExportOptions`.

    Returns:
        The bundle. An export that fails leaves no files behind.

    Raises:
        CheckpointError: the source cannot be read.
        ExportError: the model cannot be exported, or the outputs of the bundle differ from the source model's.
    """
    export_options = ExportOptions(**options)
    reporter = reporter or SilentReporter()
    output = Path(output)
    check_target(output, name, version)
    load = _merge_load_options(load or LoadOptions(), task, labels, heads, tokenizer)
    with reporter.stage("load the checkpoint"):
        model = _load(source, load, tokenizer)
    check_options_apply(model.task, export_options, load)
    model, export_options = _apply_options(model, export_options)
    with staging_directory(output) as staging:
        plan = make_plan(name, model, export_options, reporter)
        manifest = _write_and_verify(staging / "bundle", plan, reporter)
        path = publish(staging / "bundle", output, name, version)
    return Exported(path, manifest)


def _write_and_verify(directory: Path, plan: Plan, reporter: Reporter) -> Manifest:
    """Write each format and verify it before writing the next, so that only one loaded copy is in memory at a time."""
    draft = write_manifest_draft(directory, plan)
    rows: list[ParityRow] = []
    if "saved_model" in plan.options.formats:
        write_saved_model(directory, plan, reporter)
        rows += verify_saved_model(directory, plan, reporter)
    if "onnx" in plan.options.formats:
        write_onnx(directory, plan, reporter)
        rows += verify_onnx(directory, plan, reporter)
    return write_final_manifest(directory, plan, draft, rows, reporter)


def _apply_options(model: SourceModel, options: ExportOptions) -> tuple[SourceModel, ExportOptions]:
    """Apply the options that change the model, and fix the lengths of a model that takes only one."""
    if options.characters:
        check_no_segmenter(model.word_segmenter, "--characters", "Leave it out: subword_tokenizer_type decides.")
        model = dataclasses.replace(model, tokenizer=split_characters(model.tokenizer))
    definition, added_tokens = recognize_added_tokens(
        model.tokenizer.to_str(), pad_id=model.inputs[0].pad_value, match=options.added_tokens == "match"
    )
    tokenizer = tokenizers.Tokenizer.from_str(definition)
    if model.prompt:
        check_no_segmenter(model.word_segmenter, "default_prompt_name", "Put the prompt in front of texts yourself.")
        tokenizer = add_prompt(tokenizer, model.prompt)
    model = dataclasses.replace(model, tokenizer=tokenizer, added_tokens=added_tokens)
    options = _at_fixed_length(options, model)
    model = add_tables(model, (options.crf_transitions, options.crf_start, options.crf_end))
    for name, head in model.heads.items():
        with errors_of_head(name):
            model = add_tables(model, (head.crf_transitions, head.crf_start, head.crf_end), head=name)
    return bind_heads(model), options


def _at_fixed_length(options: ExportOptions, model: SourceModel) -> ExportOptions:
    """Return options for the one signature of a model whose Inputs have a fixed length, and reject other lengths."""
    length = fixed_length(model.keras)
    if length is None:
        return options
    if {options.max_length or length, *(options.lengths or ())} != {length}:
        raise ExportError(
            f"the model's Inputs have the fixed length {length}: only a signature of that length can be exported. "
            "Leave max_length and lengths out, or make Inputs of shape (None,)."
        )
    return dataclasses.replace(options, max_length=length, lengths=())


def _merge_load_options(
    load: LoadOptions,
    task: str | None,
    labels: Sequence[str] | None,
    heads: Mapping[str, Any] | None,
    tokenizer: Any,
) -> LoadOptions:
    heads = heads if heads is not None else load.heads or None
    given: dict[str, Any] = {"task": task, "labels": as_labels(labels) or None}
    given["heads"] = checked_heads(heads) if heads is not None else None
    if isinstance(tokenizer, str | Path):
        given["tokenizer"] = Path(tokenizer)
    return dataclasses.replace(load, **{key: value for key, value in given.items() if value is not None})


def _load(source: Any, load: LoadOptions, tokenizer: Any) -> SourceModel:
    if isinstance(source, str | Path):
        with open_source(source, revision=load.revision) as path:
            model = load_checkpoint(path, str(source), load)
    else:
        model = live_model(source, load, tokenizer)
    check_compute_dtype(model.keras)
    return model
