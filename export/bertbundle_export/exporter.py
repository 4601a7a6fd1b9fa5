"""Export a BERT: from a checkpoint, or a live Keras model, to a bundle on disk."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gc
import importlib.metadata
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from bertbundle.errors import ExportError
from bertbundle.labels import SCHEMES, detect_scheme, parse_labels
from bertbundle.manifest import MANIFEST_FILE, TOKENIZER_FILE, Manifest, ParityRow
from bertbundle.primitives import InputFeatures
from bertbundle.tokenizer import Tokenizer
from bertbundle_export import bundle, onnx_model, parity, saved_model, warmup
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.hub import resolve_source
from bertbundle_export.live import live_model
from bertbundle_export.model import SourceModel, run_source
from bertbundle_export.precision import choose_precision
from bertbundle_export.report import Reporter, SilentReporter
from bertbundle_export.tasks import TASKS, Head, check_outputs
from bertbundle_export.texts import PARITY_TEXTS
from bertbundle_export.tokenization import by_character, is_lowercase, special_ids

__all__ = ["ExportOptions", "Exported", "export_bundle"]

FORMATS = ("saved_model", "onnx")
WORD_LABELS = ("token", "first", "first-labelled")
DECODINGS = ("auto", "viterbi", "argmax")
DEFAULT_MAX_LENGTH = 128
_SHORTEST = 16
# A BIO model on text that it was not trained for leaves out about every other B-; an IOB1 model has next to none.
_FEW_ENTITIES, _IOB1_RATIO = 5, 20
_GENERATORS = ("bertbundle-toolkit", "tensorflow", "transformers", "tf2onnx", "onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        max_length: tokens of `serving_default`; None for 128, or the model's own limit if that is less.
        lengths: lengths of the shorter signatures; None for 16, 32, 64, ... below `max_length`.
        formats: any of "saved_model" and "onnx".
        precision: of the SavedModel's matrix products: "float32", "bfloat16", or "auto" for what this processor
            favours.
        characters: make every character a token, as Chinese taggers are trained.
        label_scheme: name of a label scheme; None detects it.
        label_decoding: "viterbi", "argmax", or "auto": Viterbi where labels are BIO, BIOES or BMES.
        word_labels: see `Manifest.word_labels`.
        texts: texts to prove the export on; None for a set that comes with the package.
    """

    max_length: int | None = None
    lengths: Sequence[int] | None = None
    formats: Sequence[str] = FORMATS
    precision: str = "float32"
    characters: bool = False
    label_scheme: str | None = None
    label_decoding: str = "auto"
    word_labels: str = "token"
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check_choice("word_labels", self.word_labels, WORD_LABELS)
        _check_choice("label_decoding", self.label_decoding, DECODINGS)
        if self.label_scheme is not None:
            _check_choice("label_scheme", self.label_scheme, tuple(SCHEMES))
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ExportError(f"formats must be some of {', '.join(FORMATS)}, got {', '.join(self.formats) or 'none'}.")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ExportError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


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
        task: token-classification, text-classification or feature-extraction; None for what the source says.
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
    if chosen.characters:
        model = dataclasses.replace(model, tokenizer=by_character(model.tokenizer))
    job = _Job(name, model, chosen, report)
    with bundle.staging_directory(output) as staging:
        manifest = job.write(staging / "bundle")
        path = bundle.publish(staging / "bundle", output, name, version)
    return Exported(path, manifest)


def _load_options(load: LoadOptions, task: str | None, labels: Sequence[str] | None, tokenizer: Any) -> LoadOptions:
    given: dict[str, Any] = {"task": task, "labels": tuple(labels) if labels else None}
    if isinstance(tokenizer, str | Path):
        given["tokenizer"] = Path(tokenizer)
    return dataclasses.replace(load, **{key: value for key, value in given.items() if value is not None})


def _load(source: Any, load: LoadOptions, tokenizer: Any) -> SourceModel:
    if isinstance(source, str | Path):
        return load_checkpoint(resolve_source(source, revision=load.revision), str(source), load)
    return live_model(source, load, tokenizer)


def signature_lengths(options: ExportOptions, max_positions: int | None) -> dict[str, int]:
    """Return the length of each signature by name, shortest first, `serving_default` last.

    Raises:
        ExportError: a length that the model cannot take, or that makes no sense.
    """
    limit = max_positions or options.max_length or DEFAULT_MAX_LENGTH
    longest = options.max_length or min(DEFAULT_MAX_LENGTH, limit)
    if longest > limit:
        raise ExportError(
            f"max_length {longest} is over the model's max_position_embeddings {limit}. Choose at most {limit}."
        )
    if options.lengths is None:
        shorter = [_SHORTEST << step for step in range(16) if _SHORTEST << step < longest]
    else:
        shorter = sorted(set(options.lengths) - {longest})
    wrong = [length for length in (*shorter, longest) if not 3 <= length <= longest]
    if wrong:
        raise ExportError(
            f"length {wrong[0]} cannot be: lengths are from 3 ([CLS], a token, [SEP]) to max_length {longest}."
        )
    return {f"length_{length}": length for length in shorter} | {"serving_default": longest}


class _Job:
    """One export, stage by stage."""

    def __init__(self, name: str, model: SourceModel, options: ExportOptions, report: Reporter) -> None:
        self._name, self._model, self._options, self._report = name, model, options, report
        self._notes: list[str] = []
        self._signatures = signature_lengths(options, model.max_positions)
        self._definition = model.tokenizer.to_str()

    def write(self, directory: Path) -> Manifest:
        """Write the whole bundle into a directory that does not exist yet, proved."""
        with self._report.stage("run the source model on real texts"):
            features = self._features()
            raw = [run_source(self._model.keras, batch.inputs) for batch in features]
            for answer in raw:
                check_outputs(answer, self._model.task, self._model.labels)
        head = self._head(*max(zip(features, raw, strict=True), key=_text_tokens))
        reference = TASKS[self._model.task].reference
        cases = [
            parity.Case(batch, reference(answer, batch.inputs, head))
            for batch, answer in zip(features, raw, strict=True)
        ]
        with self._report.stage("trace the serving function"):
            traced = self._trace(head)
        manifest = self._manifest(head, saved_model.output_specs(traced.function), traced.precision)
        rows = self._write_formats(directory, traced, manifest, cases, head)
        return self._finish(directory, manifest, features, rows)

    def _features(self) -> list[InputFeatures]:
        tokenizer = Tokenizer(self._definition, max_length=self._signatures["serving_default"])
        texts = self._options.texts or PARITY_TEXTS
        return parity.make_features(tokenizer, texts, signatures=self._signatures, inputs=self._model.inputs)

    def _head(self, features: InputFeatures, raw: Mapping[str, npt.NDArray[Any]]) -> Head:
        model = self._model
        special = special_ids(model.tokenizer, model.inputs[0].pad_value)
        head = Head(
            labels=model.labels,
            multi_label=model.multi_label,
            pooling=model.pooling,
            normalized=model.normalized,
            special_ids=special,
        )
        if model.task != "token-classification":
            return head
        scheme = self._options.label_scheme or detect_scheme(model.labels)
        real = ~np.isin(features.inputs["input_ids"], special)
        decoding = self._decoding(scheme, raw["logits"].argmax(axis=-1), real)
        return dataclasses.replace(head, label_scheme=scheme, label_decoding=decoding)

    def _decoding(self, scheme: str, label_ids: npt.NDArray[Any], real: npt.NDArray[np.bool_]) -> str:
        if self._options.label_decoding != "auto":
            return self._options.label_decoding
        if scheme == "IO":
            return "argmax"
        if _begins_with_inside(self._model.labels, scheme, label_ids, real):
            self._note(
                "hardly an entity the model finds begins with B-, as in the older IOB1 scheme: labels are decoded by "
                "argmax. Pass --label-decoding viterbi if that is wrong."
            )
            return "argmax"
        return "viterbi"

    def _trace(self, head: Head) -> saved_model.Traced:
        asked = self._options.precision
        precision, note = choose_precision(asked)
        if note:
            self._note(note)
        traced = saved_model.trace(self._model, head, precision=precision)
        if traced.precision == precision:
            return traced
        problem = "the model has no encoder that could be replaced, so its own runs, in float32"
        if asked != "auto":
            raise ExportError(f"precision {precision} cannot be: {problem}. Export with --precision float32.")
        self._note(f"{problem}.")
        return traced

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._report.note(text)

    def _manifest(self, head: Head, outputs: Any, precision: str) -> Manifest:
        return Manifest(
            name=self._name,
            task=self._model.task,
            max_length=self._signatures["serving_default"],
            signatures=self._signatures,
            inputs=self._model.inputs,
            outputs=outputs,
            precision=precision,
            source=self._model.source,
            tokenizer_lowercase=is_lowercase(self._model.tokenizer),
            labels=head.labels,
            label_scheme=head.label_scheme,
            label_decoding=head.label_decoding,
            word_labels=self._options.word_labels,
            multi_label=head.multi_label,
            pooling=head.pooling,
            normalized=head.normalized,
            generator=_generator(),
            created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            notes=tuple(self._notes),
        )

    def _write_formats(
        self, directory: Path, traced: saved_model.Traced, manifest: Manifest, cases: Sequence[parity.Case], head: Head
    ) -> list[ParityRow]:
        directory.mkdir()
        (directory / TOKENIZER_FILE).write_text(self._definition, encoding="utf-8")
        (directory / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        rows: list[ParityRow] = []
        if "saved_model" in self._options.formats:
            with self._report.stage("write the SavedModel"):
                saved_model.save_model(
                    directory, traced, manifest.inputs, signatures=self._signatures, asset_directory=directory
                )
            with self._report.stage("compare the SavedModel with the source"):
                tolerance = parity.TOLERANCES[traced.precision]
                rows += parity.compare(
                    "saved_model",
                    parity.saved_model_runner(directory),
                    cases,
                    outputs=manifest.outputs,
                    tolerance=tolerance,
                )
                gc.collect()  # the loaded SavedModel is full of cycles, and as large as the model
        if "onnx" in self._options.formats:
            with self._report.stage("convert to ONNX"):
                onnx_model.save_onnx(
                    directory,
                    traced,
                    inputs=manifest.inputs,
                    outputs=manifest.outputs,
                    as_is=lambda: saved_model.trace_as_is(self._model, head),
                )
            with self._report.stage("compare the ONNX models with the source"):
                for name, format_name in onnx_model.FORMATS.items():
                    rows += parity.compare(
                        format_name, parity.onnx_runner(directory / name), cases, outputs=manifest.outputs
                    )
        return rows

    def _finish(
        self, directory: Path, manifest: Manifest, features: Sequence[InputFeatures], rows: list[ParityRow]
    ) -> Manifest:
        with self._report.stage("write warmup records and the manifest"):
            warmup.write_warmup(directory, self._name, features)
            files = bundle.digest_files(directory)
            final: Manifest = dataclasses.replace(manifest, parity=tuple(rows), files=files)
            (directory / MANIFEST_FILE).write_text(final.to_json(), encoding="utf-8")
            if (directory / "assets").is_dir():
                shutil.copyfile(directory / MANIFEST_FILE, directory / "assets" / MANIFEST_FILE)
        return final


def _text_tokens(case: tuple[InputFeatures, Any]) -> int:
    return int(case[0].inputs["attention_mask"].sum())


def _begins_with_inside(
    labels: Sequence[str], scheme: str, label_ids: npt.NDArray[Any], real: npt.NDArray[np.bool_]
) -> bool:
    """Return whether a model hardly ever begins an entity with B-, as IOB1 does only between neighbours of one type."""
    tags = parse_labels(labels, scheme)
    begun = orphans = 0
    for row, tokens in zip(label_ids, real, strict=True):
        before = None
        for tag in (tags[label] for label in row[tokens]):
            begun += tag.role in "BS"
            orphans += tag.role in "IE" and (before is None or before.type != tag.type or before.role not in "BI")
            before = tag
    return orphans >= _FEW_ENTITIES and orphans > _IOB1_RATIO * begun


def _generator() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in _GENERATORS}
