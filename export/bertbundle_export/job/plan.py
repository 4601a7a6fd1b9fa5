"""One export, stage by stage: from a source model to a directory that is proved."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gc
import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertbundle.contract.manifest import MANIFEST_FILE, TOKENIZER_FILE, Manifest, ParityRow
from bertbundle.contract.types import InputFeatures
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export import bundle, warmup
from bertbundle_export.errors import ExportError, ToleranceError
from bertbundle_export.job import crf_tables
from bertbundle_export.job.label_decoding import choose_decoding
from bertbundle_export.job.padding import depends_on_padding
from bertbundle_export.job.texts import PARITY_TEXTS
from bertbundle_export.onnx_files import converter as onnx_model
from bertbundle_export.onnx_files.variants import FORMATS
from bertbundle_export.options import ExportOptions, signature_lengths
from bertbundle_export.parity import compare as parity
from bertbundle_export.precision import choose_precision
from bertbundle_export.report import Reporter
from bertbundle_export.saved_model import writer as saved_model
from bertbundle_export.source.model import SourceModel, run_source
from bertbundle_export.source.tokenization import is_lowercase, mask_token, special_ids
from bertbundle_export.tasks import TASKS, Head, check_outputs, check_pooled
from bertbundle_export.tolerance import TOLERANCES

__all__ = ["Job"]

_GENERATORS = ("bertbundle-toolkit", "tensorflow", "transformers", "tf2onnx", "onnx")


class Job:
    """One export, stage by stage."""

    def __init__(self, name: str, model: SourceModel, options: ExportOptions, report: Reporter) -> None:
        self._name, self._model, self._options, self._report = name, model, options, report
        self._notes: list[str] = []
        self._signatures = signature_lengths(options, model.max_positions)
        self._definition = model.tokenizer.to_str()
        self._task = TASKS[model.task]
        self._int8 = options.precision == "int8"

    def write(self, directory: Path) -> Manifest:
        """Write the whole bundle into a directory that does not exist yet, proved."""
        head = self._head()
        with self._report.stage("run the source model on real texts"):
            features = self._one_answer(self._features(head))
            raw = [run_source(self._model, batch.inputs) for batch in features]
            for answer in raw:
                check_outputs(answer, self._task, self._model.labels)
                check_pooled(answer, self._model.pooling)
        if self._task.name == "token-classification":
            longest = max(zip(features, raw, strict=True), key=_text_tokens)
            head = choose_decoding(head, self._options, *longest, note=self._note)
        cases = [
            parity.Case(batch, self._task.reference(answer, batch.inputs, head))
            for batch, answer in zip(features, raw, strict=True)
        ]
        with self._report.stage("trace the serving function"):
            traced = self._trace(head)
        if self._int8 and "saved_model" in self._options.formats:
            self._note("the ONNX files are int8, the SavedModel is float32.")
        if self._options.label_decoding == "auto" and head.label_decoding != "none":
            crf_tables.check_no_idle_tables(self._model.keras, traced.function, len(head.labels), head.label_decoding)
        precision = "int8" if self._int8 else traced.precision
        manifest = self._manifest(head, saved_model.output_specs(traced.function), precision)
        rows = self._write_formats(directory, traced, manifest, cases, head)
        return self._finish(directory, manifest, features, rows)

    def _features(self, head: Head) -> list[InputFeatures]:
        tokenizer = Tokenizer(self._definition, max_length=self._signatures["serving_default"])
        texts = self._options.texts or PARITY_TEXTS
        made = parity.make_features(tokenizer, texts, signatures=self._signatures, inputs=self._model.inputs)
        return [InputFeatures(batch.signature, self._task.examples(batch.inputs, head)) for batch in made]

    def _one_answer(self, features: list[InputFeatures]) -> list[InputFeatures]:
        """Leave out the shorter signatures of a model that answers otherwise at each length."""
        if len(features) == 1 or not depends_on_padding(self._model, features[0], self._signatures["serving_default"]):
            return features
        problem = (
            "the model's answers depend on how far a text is padded: layers after BERT ignore attention_mask, as a "
            "convolution or a backward LSTM without a mask does"
        )
        if self._options.lengths:
            raise ExportError(
                f"{problem}. Leave --lengths out, so that every text is padded to max_length as in training, or mask "
                "them."
            )
        self._note(f"{problem}. So every text is padded to max_length; there are no shorter signatures.")
        self._signatures = {"serving_default": self._signatures["serving_default"]}
        return features[-1:]

    def _head(self) -> Head:
        model = self._model
        head = Head(
            labels=model.labels,
            multi_label=model.multi_label,
            pooling=model.pooling,
            last_layers=model.last_layers,
            normalized=model.normalized,
            special_ids=special_ids(model.tokenizer, model.inputs[0].pad_value),
        )
        if self._task.name != "fill-mask":
            return head
        if self._options.top_k > model.source.vocab_size:
            raise ExportError(
                f"top_k {self._options.top_k} is more than the vocabulary's {model.source.vocab_size} tokens. Choose "
                "less."
            )
        token, mask_id = mask_token(model.tokenizer)
        return dataclasses.replace(head, mask_token=token, mask_id=mask_id, top_k=self._options.top_k)

    def _trace(self, head: Head) -> saved_model.Traced:
        asked = self._options.precision
        precision, note = choose_precision(asked)
        if note:
            self._note(note)
        # int8 is for the ONNX files, which are written from the same trace.
        traced = saved_model.trace(self._model, head, precision="float32" if precision == "int8" else precision)
        if precision == "float32" or traced.encoders:
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
            last_layers=head.last_layers,
            normalized=head.normalized,
            mask_token=head.mask_token,
            top_k=head.top_k,
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
                runner = parity.saved_model_runner(directory)
                rows += self._compare("saved_model", runner, cases, manifest, traced.precision)
                del runner
                gc.collect()  # the loaded SavedModel is full of cycles, and as large as the model
        if "onnx" in self._options.formats:
            with self._report.stage("convert to ONNX"):
                onnx_model.save_onnx(
                    directory,
                    traced,
                    inputs=manifest.inputs,
                    outputs=manifest.outputs,
                    as_is=lambda: saved_model.trace_as_is(self._model, head),
                    calibration=[case.features for case in cases] if self._int8 else (),
                )
            with self._report.stage("compare the ONNX models with the source"):
                precision = "int8" if self._int8 else "float32"
                for name, format_name in FORMATS.items():
                    rows += self._compare(format_name, parity.onnx_runner(directory / name), cases, manifest, precision)
        return rows

    def _compare(
        self, name: str, run: parity.Runner, cases: Sequence[parity.Case], manifest: Manifest, precision: str
    ) -> list[ParityRow]:
        tolerance = TOLERANCES[precision]
        try:
            return parity.compare(name, run, cases, outputs=manifest.outputs, task=self._task, tolerance=tolerance)
        except ToleranceError as error:
            if precision == "float32":
                raise
            raise ToleranceError(
                f"{error} {precision} loses too much of this model on these texts. Export with --precision float32, or "
                "give texts as it will be asked with --texts."
            ) from error

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


def _generator() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in _GENERATORS}
