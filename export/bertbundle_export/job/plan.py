"""Plan an export: run and trace the source model, and decide everything before a file is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bertbundle.contract.manifest import OutputSpec
from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.errors import ExportError
from bertbundle_export.job.crf_tables import check_unused_tables
from bertbundle_export.job.decoding_choice import choose_decoding
from bertbundle_export.job.heads import errors_of_head, head_options
from bertbundle_export.job.padding import depends_on_padding
from bertbundle_export.job.signature_lengths import signature_lengths
from bertbundle_export.job.texts import PARITY_TEXTS, make_features
from bertbundle_export.options import ExportOptions
from bertbundle_export.parity.compare import Case
from bertbundle_export.precision import INT8_TENSORFLOW, check_int8, choose_precision
from bertbundle_export.report import NoteRecorder, Reporter
from bertbundle_export.saved_model.tracing import TracedModel, attention_dtype, output_specs, trace
from bertbundle_export.source.model import SourceModel, run_source
from bertbundle_export.source.tokenization import mask_token, special_ids
from bertbundle_export.tasks import HEAD_TASKS, TASKS, HeadConfig, Task, outputs_of_head, task_of
from bertbundle_export.tasks.checks import check_operations, check_outputs, check_pooler, unused_outputs

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export writes, and the expected outputs that it is verified against.

    Attributes:
        name: model name.
        model: the source model.
        options: the user's choices.
        signatures: length by signature name, shortest first.
        head: how the task's outputs are computed, including label decoding.
        cases: each signature's inputs, made from real texts, and the expected outputs.
        traced: the source model and its task's outputs as a graph.
        notes: notes for the user, also written to the manifest.
    """

    name: str
    model: SourceModel
    options: ExportOptions
    signatures: Mapping[str, int]
    head: HeadConfig
    cases: tuple[Case, ...]
    traced: TracedModel
    notes: tuple[str, ...]

    @property
    def task(self) -> Task:
        """The model's task."""
        return task_of(self.model.task, self.model.heads)

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """The outputs of every signature."""
        return output_specs(self.traced.function)

    @property
    def precision(self) -> str:
        """The manifest's precision; that of the SavedModel is `traced.precision`."""
        return "float16" if self.options.precision == "float16" else self.traced.precision

    @property
    def onnx_precision(self) -> str:
        """Precision of the ONNX files' matrix products, "float32", "float16" or "int8"."""
        return "float32" if self.precision == "bfloat16" else self.precision


def make_plan(name: str, model: SourceModel, options: ExportOptions, reporter: Reporter) -> Plan:
    """Run the source model on real texts, decide how to export it, and trace it.

    Raises:
        ExportError: the model cannot be exported with these options.
    """
    recorder = NoteRecorder(reporter)
    for note in model.notes:
        recorder.note(note)
    head = _head_config(model, options)
    with recorder.stage("run the source model on real texts"):
        signatures, features = _signatures_and_features(model, options, head, recorder)
        outputs = [_run_checked(model, batch) for batch in features]
    task = task_of(model.task, model.heads)
    if not model.heads and (unused := unused_outputs(outputs[0], task)):
        recorder.note(
            f"the model also returns {', '.join(unused)}: the task {model.task} is not computed from it, and it is not "
            "in the bundle."
        )
    longest = max(range(len(features)), key=lambda index: _count_tokens(features[index]))
    head = _choose_decodings(model, head, options, (features[longest], outputs[longest]), recorder)
    cases = _make_cases(task, head, features, outputs)
    if model.task == "span-classification":
        _note_many_spans(head, cases, recorder)
    with recorder.stage("trace the serving function"):
        traced = _trace(model, options, head, features, recorder)
    _check_operations(model, head, traced, recorder)
    _check_unused_tables(model, options, head, traced)
    return Plan(name, model, options, signatures, head, cases, traced, tuple(recorder.notes))


def _check_operations(model: SourceModel, head: HeadConfig, traced: TracedModel, reporter: Reporter) -> None:
    """Check what the logits are computed by; a CRF's scores may be anything."""
    for name, config in (head.heads or {"": head}).items():
        task = HEAD_TASKS[model.heads[name].task] if name else TASKS[model.task]
        operations = outputs_of_head(traced.operations, name) if name else traced.operations
        with errors_of_head(name):
            notes = [] if config.label_decoding == "crf" else check_operations(operations, task)
        for note in notes:
            reporter.note(f"head {name}: {note}" if name else note)


def _check_unused_tables(model: SourceModel, options: ExportOptions, head: HeadConfig, traced: TracedModel) -> None:
    """Check each tagger whose decoding the user did not choose."""
    for name, config in (head.heads or {"": head}).items():
        decoding = model.heads[name].label_decoding if name else options.label_decoding
        if decoding == "auto" and config.label_decoding != "none":
            with errors_of_head(name):
                check_unused_tables(model.keras, traced.function, len(config.labels), config.label_decoding)


_TOP_K = {"fill-mask": 10, "span-classification": 128}
"""The default of `ExportOptions.top_k` by task."""


def _head_config(model: SourceModel, options: ExportOptions) -> HeadConfig:
    head = HeadConfig(
        labels=model.labels,
        multi_label=model.multi_label,
        pooling=model.pooling,
        last_layers=model.last_layers,
        dense=model.dense,
        normalized=model.normalized,
        top_k=_TOP_K.get(model.task, 0) if options.top_k is None else options.top_k,
        span_threshold=options.span_threshold,
        special_ids=special_ids(model.tokenizer, model.inputs[0].pad_value),
    )
    if model.heads:
        configs = {
            name: HeadConfig(labels=spec.labels, multi_label=bool(spec.multi_label), special_ids=head.special_ids)
            for name, spec in model.heads.items()
        }
        return dataclasses.replace(head, heads=configs)
    if model.task != "fill-mask":
        return head
    if head.top_k > model.source.vocab_size:
        raise ExportError(
            f"top_k {head.top_k} exceeds the vocabulary's {model.source.vocab_size} tokens. Choose a smaller number."
        )
    token, mask_id = mask_token(model.tokenizer)
    return dataclasses.replace(head, mask_token=token, mask_id=mask_id)


# ---- signatures, and real texts for each


def _signatures_and_features(
    model: SourceModel, options: ExportOptions, head: HeadConfig, reporter: Reporter
) -> tuple[Mapping[str, int], list[InputFeatures]]:
    """Return the length and the batch of each signature; only of the longest if the model depends on padding."""
    signatures = signature_lengths(options, model.max_positions, model.stated_length)
    features = _make_features(model, options, head, signatures)
    if len(features) == 1 or not depends_on_padding(model, features[0], signatures["serving_default"]):
        return signatures, features
    problem = (
        "the model's outputs depend on how much a text is padded: layers after BERT ignore attention_mask, as a "
        "convolution or a backward LSTM without a mask does"
    )
    if options.lengths:
        raise ExportError(
            f"{problem}. Leave --lengths out, so that every text is padded to max_length as in training, or mask those "
            "layers."
        )
    reporter.note(f"{problem}. So every text is padded to max_length; there are no shorter signatures.")
    return {"serving_default": signatures["serving_default"]}, features[-1:]


def _make_features(
    model: SourceModel, options: ExportOptions, head: HeadConfig, signatures: Mapping[str, int]
) -> list[InputFeatures]:
    tokenizer = Tokenizer(
        model.tokenizer.to_str(), max_length=signatures["serving_default"], word_segmenter=model.word_segmenter
    )
    features = make_features(tokenizer, options.texts or PARITY_TEXTS, signatures=signatures, inputs=model.inputs)
    prepare = task_of(model.task, model.heads).prepare_examples
    return [InputFeatures(batch.signature, prepare(batch.inputs, head)) for batch in features]


def _run_checked(model: SourceModel, batch: InputFeatures) -> Arrays:
    outputs = run_source(model, batch.inputs)
    length = batch.inputs["input_ids"].shape[1]
    if not model.heads:
        check_outputs(outputs, TASKS[model.task], model.labels, length=length, multi_label=model.multi_label)
        check_pooler(outputs, model.pooling)
    for name, spec in model.heads.items():
        of_head, task, multi_label = outputs_of_head(outputs, name), HEAD_TASKS[spec.task], bool(spec.multi_label)
        with errors_of_head(name):
            check_outputs(of_head, task, spec.labels, length=length, multi_label=multi_label)
    return outputs


def _choose_decodings(
    model: SourceModel,
    head: HeadConfig,
    options: ExportOptions,
    texts: tuple[InputFeatures, Arrays],
    reporter: Reporter,
) -> HeadConfig:
    """Return the configuration with the label decoding of each tagger, chosen on texts and their outputs."""
    features, outputs = texts
    if model.task == "token-classification":
        return choose_decoding(head, options, features, outputs, note=reporter.note)
    configs = dict(head.heads)
    for name, spec in model.heads.items():
        if spec.task == "token-classification":
            of_head, chosen = outputs_of_head(outputs, name), head_options(options, spec)
            with errors_of_head(name):
                configs[name] = choose_decoding(configs[name], chosen, features, of_head, note=reporter.note)
    return dataclasses.replace(head, heads=configs)


def _count_tokens(batch: InputFeatures) -> int:
    return int(batch.inputs["attention_mask"].sum())


def _make_cases(
    task: Task, head: HeadConfig, features: Sequence[InputFeatures], outputs: Sequence[Arrays]
) -> tuple[Case, ...]:
    pairs = zip(features, outputs, strict=True)
    return tuple(Case(batch, task.reference(raw, batch.inputs, head)) for batch, raw in pairs)


def _note_many_spans(head: HeadConfig, cases: Sequence[Case], reporter: Reporter) -> None:
    """Note that a text has more spans than the outputs have rows: a client raises an error for such a text."""
    most = max(int(case.expected["span_counts"].max()) for case in cases)
    if most > head.top_k:
        reporter.note(
            f"{most} spans of a text have a logit above {head.span_threshold:g}, the outputs have room for "
            f"{head.top_k}: a client refuses such texts. Is the model trained? Otherwise pass another "
            "--span-threshold, or a larger --top-k."
        )


# ---- the graph


def _trace(
    model: SourceModel,
    options: ExportOptions,
    head: HeadConfig,
    features: Sequence[InputFeatures],
    reporter: Reporter,
) -> TracedModel:
    precision, note = choose_precision(options.precision)
    if note:
        reporter.note(note)
    if precision == "int8":
        check_int8(options.formats, options.texts or PARITY_TEXTS)
    if precision == "int8" and "saved_model" in options.formats:
        reporter.note(
            f"the SavedModel needs TensorFlow {INT8_TENSORFLOW} or newer and a processor with int8 products; its "
            f"attention is in {attention_dtype()}."
        )
    if precision == "float16" and "saved_model" in options.formats:
        reporter.note("the ONNX files are float16, the SavedModel is float32.")
    graph_precision = "float32" if precision == "float16" else precision
    traced = trace(model, head, precision=graph_precision, calibration=features)
    if precision == "float32" or traced.encoders:
        return traced
    problem = "the model has no encoder that can be replaced, so its own encoder runs, in float32"
    if options.precision != "auto":
        raise ExportError(f"precision {precision} is not possible: {problem}. Export with --precision float32.")
    reporter.note(f"{problem}.")
    return traced
