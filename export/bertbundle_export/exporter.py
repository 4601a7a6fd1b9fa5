"""Export a BERT: from a checkpoint, or a live Keras model, to a bundle on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from bertbundle.contract.manifest import Manifest
from bertbundle_export import bundle
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.live import live_model
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import ExportError
from bertbundle_export.job import crf_tables
from bertbundle_export.job.plan import Job
from bertbundle_export.options import ExportOptions, check_use
from bertbundle_export.report import Reporter, SilentReporter
from bertbundle_export.source.model import SourceModel, fixed_length
from bertbundle_export.source.tokenization import by_character

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
    load: LoadOptions | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Exported:
    """Export a BERT to ``output/name/version``.

    Args:
        source: a checkpoint's directory, a hub name, or a live Keras model (a `TFBertPreTrainedModel` subclass, or any
            model that takes the inputs by name in a dict).
        name: model name.
        output: directory of the models.
        version: version number; None for the next free one.
        tokenizer: for a live model, its tokenizer: a `tokenizers.Tokenizer`, a directory or a vocab.txt. For a
            checkpoint, a directory or vocab.txt to take it from instead.
        task: a key of `TASKS`; None for what the source says.
        labels: label of each class index; None for what the source says.
        load: more that the source does not say itself.
        reporter: is told of the progress; None for silence.
        **options: see `ExportOptions`.

    Returns:
        The bundle. Nothing is left behind if the export fails.

    Raises:
        CheckpointError: the source cannot be read.
        ExportError: the bundle cannot be made, or its outputs differ from the source model's.
    """
    chosen = ExportOptions(**options)
    report: Reporter = reporter or SilentReporter()
    output = Path(output)
    bundle.check_target(output, name, version)
    load = _load_options(load or LoadOptions(), task, labels, tokenizer)
    with report.stage("load the checkpoint"):
        model = _load(source, load, tokenizer)
    check_use(model.task, chosen, load)
    if chosen.characters:
        model = dataclasses.replace(model, tokenizer=by_character(model.tokenizer))
    chosen = _at_fixed_length(chosen, model)
    model = crf_tables.with_tables(model, (chosen.crf_transitions, chosen.crf_start, chosen.crf_end))
    job = Job(name, model, chosen, report)
    with bundle.staging_directory(output) as staging:
        manifest = job.write(staging / "bundle")
        path = bundle.publish(staging / "bundle", output, name, version)
    return Exported(path, manifest)


def _at_fixed_length(options: ExportOptions, model: SourceModel) -> ExportOptions:
    """Leave one signature of a model that takes one length, and refuse to make others."""
    length = fixed_length(model.keras)
    if length is None:
        return options
    if {options.max_length or length, *(options.lengths or ())} != {length}:
        raise ExportError(
            f"the model's Inputs are of length {length}: a signature of that length alone can be exported. Leave "
            "max_length and lengths out, or make Inputs of shape (None,)."
        )
    return dataclasses.replace(options, max_length=length, lengths=())


def _load_options(load: LoadOptions, task: str | None, labels: Sequence[str] | None, tokenizer: Any) -> LoadOptions:
    given: dict[str, Any] = {"task": task, "labels": tuple(labels) if labels else None}
    if isinstance(tokenizer, str | Path):
        given["tokenizer"] = Path(tokenizer)
    return dataclasses.replace(load, **{key: value for key, value in given.items() if value is not None})


def _load(source: Any, load: LoadOptions, tokenizer: Any) -> SourceModel:
    if isinstance(source, str | Path):
        with open_source(source, revision=load.revision) as path:
            return load_checkpoint(path, str(source), load)
    return live_model(source, load, tokenizer)
