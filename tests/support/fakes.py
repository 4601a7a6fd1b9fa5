"""A small model that needs no files, behind transports in this process and behind a gRPC server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from bertbundle import Client
from bertbundle.contract.heads import Head
from bertbundle.contract.manifest import BUNDLE_INFO, InputSpec, Manifest, OutputSpec, Source
from bertbundle.contract.types import Arrays, PredictCall, Prediction, VersionStatus
from bertbundle.errors import ServerError, SignatureNotFound
from bertbundle.transports.cancellation import Cancellation
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensors, encode_tensors

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "wang",
    "lives",
    "in",
    "ber",
    "##lin",
    "today",
    "王",
    "建",
    "国",
    "在",
    "北",
    "京",
    "e",
    "a",
    "b",
    "c",
    ",",
    ".",
    "##a",
    "##b",
    "##c",
    "[MASK]",
]
VOCABULARY = {word: index for index, word in enumerate(WORDS)}
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LABEL_ID_OF_WORD = {"wang": 1, "王": 1, "建": 2, "国": 2, "ber": 3, "##lin": 4, "北": 3, "京": 4}
LABEL_IDS = np.array([LABEL_ID_OF_WORD.get(word, 0) for word in WORDS], np.int32)
"""The label id of each token id."""
SCORES = (0.5 + 0.01 * np.arange(len(WORDS))).astype(np.float32)
"""The label score of each token id."""


def make_tokenizer(vocabulary: Mapping[str, int] = VOCABULARY, *, lowercase: bool = True) -> tokenizers.Tokenizer:
    """Return a BERT tokenizer over a small vocabulary."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(dict(vocabulary), unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens([word for word in vocabulary if word.startswith("[")])
    return tokenizer


HEADS = {
    "intent": Head("text-classification", labels=("no", "perhaps", "yes")),
    "slots": Head("token-classification", labels=LABELS, label_scheme="BIO", label_decoding="argmax"),
}
"""The heads of the small multi-task model."""
OUTPUTS = {
    "token-classification": ("label_ids", "label_scores", "logits"),
    "span-classification": ("spans", "span_scores", "span_counts"),
    "text-classification": ("scores", "logits"),
    "regression": ("value",),
    "feature-extraction": ("sentence_embedding",),
    "question-answering": ("start_logits", "end_logits"),
    "fill-mask": ("token_ids", "token_scores"),
}


SPAN_LABELS = ("PER", "LOC", "PLACE")
_LABELS: Mapping[str, tuple[str, ...]] = {
    "token-classification": LABELS,
    "span-classification": SPAN_LABELS,
    "text-classification": ("no", "perhaps", "yes"),
}


def make_manifest(task: str = "token-classification", **changes: Any) -> Manifest:
    """Return the manifest of the small model, with signatures of 4, 8 and 12 tokens."""
    ner = task == "token-classification"
    heads = changes.get("heads", HEADS if task == "multi-task" else {})
    names = [f"{name}.{output}" for name, head in heads.items() for output in OUTPUTS.get(head.task, ("logits",))]
    manifest = Manifest(
        name="tiny",
        task=task,
        max_length=12,
        signatures={"serving_default": 12, "length_4": 4, "length_8": 8},
        inputs=(
            InputSpec("input_ids", "int32", 0, len(WORDS)),
            InputSpec("attention_mask", "int32", 0, 2),
            InputSpec("token_type_ids", "int32", 0, 2),
        ),
        outputs=tuple(OutputSpec(name, "float32", ("batch",)) for name in names or OUTPUTS.get(task, ("logits",))),
        source=Source("fake", "tiny", "Tiny", 0, 2, len(WORDS), 0),
        labels=_LABELS.get(task, ()),
        label_scheme="BIO" if ner else "none",
        label_decoding="argmax" if ner else "none",
        tokenizer_lowercase=True,
        mask_token="[MASK]" if task == "fill-mask" else "",
        top_k={"fill-mask": TOP_K, "span-classification": MAX_SPANS}.get(task, 0),
        heads=heads,
    )
    return replace(manifest, **changes)


Output = Callable[[Arrays], Any]


def _scores(inputs: Arrays) -> Any:
    """Return 0.75 for the class that is the first word's id modulo 3, 0.5 for the next class, and 0.25 for the last."""
    best = inputs["input_ids"][:, 1] % 3
    return np.stack([0.75 - 0.25 * ((index - best) % 3) for index in range(3)], axis=1).astype(np.float32)


def _sentence_embedding(inputs: Arrays) -> Any:
    """Return the id of the first word and the number of tokens."""
    return np.stack([inputs["input_ids"][:, 1], inputs["attention_mask"].sum(1)], axis=1).astype(np.float32)


def start_logits(inputs: Arrays) -> Any:
    """Return a high logit where "berlin" or "today" starts."""
    return np.where(np.isin(inputs["input_ids"], (WORDS.index("ber"), WORDS.index("today"))), 9, 0).astype(np.float32)


def end_logits(inputs: Arrays) -> Any:
    """Return a high logit where "berlin" or "today" ends."""
    return np.where(np.isin(inputs["input_ids"], (WORDS.index("##lin"), WORDS.index("today"))), 9, 0).astype(np.float32)


def _logits(inputs: Arrays) -> Any:
    """Return 10 for the label of each token, and 0 for the other labels."""
    return (10.0 * np.eye(len(LABELS))[LABEL_IDS[inputs["input_ids"]]]).astype(np.float32)


def _class_logits(inputs: Arrays) -> Any:
    """Return what becomes the scores by a sigmoid."""
    scores = np.clip(_scores(inputs), 1e-6, 1 - 1e-6)
    return np.log(scores / (1 - scores)).astype(np.float32)


TOP_K = 2
MAX_SPANS = 4
SPAN_OF_WORDS = {("wang",): 0, ("ber", "##lin"): 1, ("in", "ber", "##lin"): 2}
"""The label of each span that the model finds, by its tokens: a place is nested in another."""


def find_spans(ids: Sequence[int]) -> list[tuple[int, int, int, float]]:
    """Return the label, the first and last token, and the score of each span of a row; longer ones score higher."""
    tokens = [WORDS[token_id] for token_id in ids]
    return [
        (label, start, start + len(words) - 1, 0.5 + 0.1 * len(words))
        for start in range(len(tokens))
        for words, label in SPAN_OF_WORDS.items()
        if tuple(tokens[start : start + len(words)]) == words
    ]


def _spans(inputs: Arrays) -> tuple[Any, Any, Any]:
    """Return the spans of each row, best first, their scores, and their number."""
    rows = [sorted(find_spans(ids), key=lambda span: -span[3]) for ids in inputs["input_ids"].tolist()]
    spans, scores = np.full((len(rows), MAX_SPANS, 3), -1, np.int32), np.zeros((len(rows), MAX_SPANS), np.float32)
    for index, row in enumerate(rows):
        for place, (*span, score) in enumerate(row[:MAX_SPANS]):
            spans[index, place], scores[index, place] = span, score
    return spans, scores, np.array([len(row) for row in rows], np.int32)


def _token_ids(inputs: Arrays) -> Any:
    """Return "wang" and "lives" for each token."""
    return np.broadcast_to(
        np.array([WORDS.index("wang"), WORDS.index("lives")], np.int32), (*inputs["input_ids"].shape, 2)
    )


def _token_scores(inputs: Arrays) -> Any:
    return np.broadcast_to(np.array([0.75, 0.25], np.float32), (*inputs["input_ids"].shape, 2))


@dataclass(frozen=True)
class Model:
    """A version of the small model.

    Attributes:
        manifest: its manifest.
        tokenizer: the content of its tokenizer.json.
        version: version number.
        overrides: functions that compute outputs instead of the usual ones; None removes an output.
    """

    manifest: Manifest = field(default_factory=make_manifest)
    tokenizer: str = field(default_factory=lambda: make_tokenizer().to_str())
    version: int = 1
    overrides: Mapping[str, Output | None] = field(default_factory=dict)

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Any]:
        """Return the requested outputs of a signature."""
        if signature == BUNDLE_INFO:
            available: dict[str, Output | None] = {
                "manifest": lambda _: np.array([self.manifest.to_json().encode()], object),
                "tokenizer": lambda _: np.array([self.tokenizer.encode()], object),
            }
        elif signature in self.manifest.signatures:
            length = self.manifest.signatures[signature]
            assert {array.shape[1] for array in inputs.values()} == {length}
            available = {
                "label_ids": lambda arrays: LABEL_IDS[arrays["input_ids"]],
                "label_scores": lambda arrays: SCORES[arrays["input_ids"]],
                "logits": _logits,
                "scores": _scores,
                "sentence_embedding": _sentence_embedding,
                "value": lambda arrays: arrays["input_ids"][:, 1].astype(np.float32),
                "start_logits": start_logits,
                "end_logits": end_logits,
                "token_ids": _token_ids,
                "token_scores": _token_scores,
                "spans": lambda arrays: _spans(arrays)[0],
                "span_scores": lambda arrays: _spans(arrays)[1],
                "span_counts": lambda arrays: _spans(arrays)[2],
            }
        else:
            raise SignatureNotFound(f'Serving signature key "{signature}" not found.', code="FAILED_PRECONDITION")
        found = {name: available[name.rpartition(".")[2]] for name in outputs}  # slots.label_ids is label_ids
        found |= {name: _class_logits for name in outputs if self._has_class_logits(name)}
        of_names = {name: name.rpartition(".")[2] for name in outputs}
        found |= {name: self.overrides[short] for name, short in of_names.items() if short in self.overrides}
        return {name: output(inputs) for name, output in found.items() if output is not None}

    def _has_class_logits(self, name: str) -> bool:
        """Return whether an output is the logits of a text, not of its tokens."""
        head, _, output = name.rpartition(".")
        task = self.manifest.heads[head].task if head else self.manifest.task
        return (task, output) == ("text-classification", "logits")


class FakeTransport:
    """A transport that runs models in this process.

    Attributes:
        models: each call uses the next one; the last one is used for all further calls.
        calls: the calls so far.
        timeouts: their timeouts.
        closed: whether `close` was called.
    """

    def __init__(self, *models: Model) -> None:
        self.models = list(models) or [Model()]
        self.calls: list[PredictCall] = []
        self.timeouts: list[float] = []
        self._lock = threading.Lock()
        self.closed = False

    def predict(self, call: PredictCall, *, timeout: float, cancel: Cancellation | None = None) -> Prediction:
        """See `Transport.predict`."""
        del cancel
        assert call.version is None
        with self._lock:
            self.calls.append(call)
            self.timeouts.append(timeout)
            model = self.models.pop(0) if len(self.models) > 1 else self.models[0]
        return Prediction(model.run(call.signature, call.inputs, call.outputs), model.version)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        del model, timeout
        return [VersionStatus(self.models[0].version, "AVAILABLE", "OK", "")]

    def close(self) -> None:
        """See `Transport.close`."""
        self.closed = True

    @property
    def signatures(self) -> list[str]:
        """The signatures of the calls, in order."""
        return [call.signature for call in self.calls]


class FailingTransport(FakeTransport):
    """A `FakeTransport` whose calls raise `errors` in turn; a call succeeds for None, and after the last error.

    Attributes:
        attempts: the number of calls, including those that failed.
    """

    def __init__(self, model: Model, *errors: type[ServerError] | None) -> None:
        super().__init__(model)
        self.attempts = 0
        self._errors = iter(errors)
        self._attempts_lock = threading.Lock()

    def predict(self, call: PredictCall, *, timeout: float, cancel: Cancellation | None = None) -> Prediction:
        """See `Transport.predict`."""
        with self._attempts_lock:
            self.attempts += 1
            error = next(self._errors, None)
        if error:
            raise error("injected error", code="X")
        return super().predict(call, timeout=timeout, cancel=cancel)


class FakeAsyncTransport:
    """`FakeTransport` with coroutines.

    Attributes:
        sync: the transport that answers the calls.
        running: the number of in-flight calls.
        max_running: the largest number of in-flight calls so far.
    """

    def __init__(self, *models: Model) -> None:
        self.sync = FakeTransport(*models)
        self.max_running = self.running = 0

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `AsyncTransport.predict`."""
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            await asyncio.sleep(0.001)
            return self.sync.predict(call, timeout=timeout)
        finally:
            self.running -= 1

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return self.sync.status(model, timeout=timeout)

    async def close(self) -> None:
        """See `Transport.close`."""
        self.sync.close()


def connect(transport: Any, **settings: Any) -> Client:
    """Return a client of the model ``tiny`` over a transport, with one request at a time."""
    return Client("", "tiny", transport=transport, **{"concurrency": 1, **settings})


def ask_repeatedly(client: Client, times: int) -> None:
    """Use a client several times, and check each result."""
    for _ in range(times):
        assert [entity.text for entity in client.entities("wang")] == ["wang"]


Method = Callable[[bytes, grpc.ServicerContext], bytes]
PREDICT = "tensorflow.serving.PredictionService"
STATUS = "tensorflow.serving.ModelService"


class FakeServer:
    """A gRPC server in threads of this process, whose methods take and return bytes."""

    def __init__(
        self, predict: Method, status: Method | None = None, credentials: Any = None, listen: str = "127.0.0.1:0"
    ) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        for service, name, method in ((PREDICT, "Predict", predict), (STATUS, "GetModelStatus", status)):
            if method is not None:
                handlers = {name: grpc.unary_unary_rpc_method_handler(method)}
                self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        if credentials is None:
            self.port = self._server.add_insecure_port(listen)
        else:
            self.port = self._server.add_secure_port(listen, credentials)
        self.address = f"{listen.rpartition(':')[0]}:{self.port}"
        self._server.start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop(None).wait()


def predict_method(
    model: Model | None = None, *, as_content: bool = False, models: Mapping[str, Model] | None = None
) -> Method:
    """Return the Predict method of a server with one model, named ``tiny``, or with `models` by their names."""
    served = models or {"tiny": model or Model()}

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        request = wire.PredictRequest.FromString(data)
        spec = request.model_spec
        if spec.name not in served:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        try:
            arrays = served[spec.name].run(spec.signature_name, decode_tensors(request.inputs), request.output_filter)
        except SignatureNotFound as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        response = wire.PredictResponse(outputs=encode_tensors(arrays, as_content=as_content))
        response.model_spec.version.value = served[spec.name].version
        return response.SerializeToString()

    return predict


def status_method(data: bytes, context: grpc.ServicerContext) -> bytes:
    """Answer GetModelStatus: version 2 is loading, version 1 is available, version 0 failed."""
    del data, context
    states = wire.ModelVersionStatus.State
    return wire.GetModelStatusResponse(
        model_version_status=[
            wire.ModelVersionStatus(version=2, state=states.LOADING, status=wire.Status()),
            wire.ModelVersionStatus(version=1, state=states.AVAILABLE, status=wire.Status()),
            wire.ModelVersionStatus(
                version=0, state=states.END, status=wire.Status(error_code=3, error_message="no model.onnx")
            ),
        ]
    ).SerializeToString()


def write_bundle(base: Path, version: int = 1, **changes: Any) -> None:
    """Write a version of the small model as a bundle with an ONNX graph of two lookups and a sum.

    Args:
        base: base path of the model.
        version: number of the version; it appears under its name when it is complete.
        **changes: fields of the manifest.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["labels", "input_ids"], ["label_ids"]),
        helper.make_node("Gather", ["scores", "input_ids"], ["label_scores"]),
        helper.make_node("Add", ["attention_mask", "token_type_ids"], ["logits"]),
    ]
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    outputs = {"label_ids": TensorProto.INT32, "label_scores": TensorProto.FLOAT, "logits": TensorProto.INT32}
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name in inputs],
        [helper.make_tensor_value_info(name, dtype, shape) for name, dtype in outputs.items()],
        [numpy_helper.from_array(LABEL_IDS, "labels"), numpy_helper.from_array(SCORES, "scores")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    specs = (
        OutputSpec("logits", "int32", ("batch", "length")),
        OutputSpec("label_ids", "int32", ("batch", "length")),
        OutputSpec("label_scores", "float32", ("batch", "length")),
    )
    bundle = base / f".{version}"
    bundle.mkdir(parents=True)
    onnx.save(model, bundle / "model.onnx")
    (bundle / "bundle.json").write_text(make_manifest(**{"outputs": specs, **changes}).to_json(), encoding="utf-8")
    (bundle / "tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
    bundle.rename(base / str(version))
