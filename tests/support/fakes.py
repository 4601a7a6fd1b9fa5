"""A small model that needs no network, and two ways to call it: a transport in this process, and a gRPC server."""

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

from bertbundle.contract.manifest import BUNDLE_INFO, InputSpec, Manifest, OutputSpec, Source
from bertbundle.contract.types import Arrays, PredictCall, Prediction, VersionStatus
from bertbundle.errors import SignatureNotFound
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
LABEL_OF_WORD = {"wang": 1, "王": 1, "建": 2, "国": 2, "ber": 3, "##lin": 4, "北": 3, "京": 4}
TABLE = np.array([LABEL_OF_WORD.get(word, 0) for word in WORDS], np.int32)
STEP = 0.01
"""Score of a token: 0.5 + STEP * its id."""


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


OUTPUTS = {
    "token-classification": ("label_ids", "label_scores", "logits"),
    "text-classification": ("scores", "logits"),
    "regression": ("value",),
    "feature-extraction": ("sentence_embedding",),
    "question-answering": ("start_logits", "end_logits"),
    "fill-mask": ("token_ids", "token_scores"),
}


def make_manifest(task: str = "token-classification", **changes: Any) -> Manifest:
    """Return the manifest of a small model: lengths 4, 8 and 12 tokens."""
    ner = task == "token-classification"
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
        outputs=tuple(OutputSpec(name, "float32", ("batch",)) for name in OUTPUTS.get(task, ("logits",))),
        source=Source("fake", "tiny", "Tiny", 0, 2, len(WORDS), 0),
        labels=LABELS if ner else ("no", "perhaps", "yes") if task == "text-classification" else (),
        label_scheme="BIO" if ner else "none",
        label_decoding="argmax" if ner else "none",
        tokenizer_lowercase=True,
        mask_token="[MASK]" if task == "fill-mask" else "",
        top_k=TOP_K if task == "fill-mask" else 0,
    )
    return replace(manifest, **changes)


Output = Callable[[Arrays], Any]


def _label_scores(inputs: Arrays) -> Any:
    return (0.5 + STEP * inputs["input_ids"]).astype(np.float32)


def _scores(inputs: Arrays) -> Any:
    """Class scores: 0.75 for the first word's id modulo 3, 0.5 for the class after that, 0.25 for the last."""
    best = inputs["input_ids"][:, 1] % 3
    return np.stack([0.75 - 0.25 * ((index - best) % 3) for index in range(3)], axis=1).astype(np.float32)


def _sentence_embedding(inputs: Arrays) -> Any:
    """First word's id and number of tokens."""
    return np.stack([inputs["input_ids"][:, 1], inputs["attention_mask"].sum(1)], axis=1).astype(np.float32)


def _start_logits(inputs: Arrays) -> Any:
    """The first of the words "berlin" and "today" begins an answer."""
    return np.where(np.isin(inputs["input_ids"], (WORDS.index("ber"), WORDS.index("today"))), 9, 0).astype(np.float32)


def _end_logits(inputs: Arrays) -> Any:
    """The first of the words "berlin" and "today" ends an answer."""
    return np.where(np.isin(inputs["input_ids"], (WORDS.index("##lin"), WORDS.index("today"))), 9, 0).astype(np.float32)


def _logits(inputs: Arrays) -> Any:
    """Ten for the label that the table has, nothing for the others."""
    return (10.0 * np.eye(len(LABELS))[TABLE[inputs["input_ids"]]]).astype(np.float32)


TOP_K = 2


def _token_ids(inputs: Arrays) -> Any:
    """At each place the first two words of the vocabulary that are no special tokens, "wang" the likelier."""
    return np.broadcast_to(
        np.array([WORDS.index("wang"), WORDS.index("lives")], np.int32), (*inputs["input_ids"].shape, 2)
    )


def _token_scores(inputs: Arrays) -> Any:
    return np.broadcast_to(np.array([0.75, 0.25], np.float32), (*inputs["input_ids"].shape, 2))


@dataclass(frozen=True)
class Model:
    """A version of a model; `change` replaces outputs by others, None leaves one out."""

    manifest: Manifest = field(default_factory=make_manifest)
    tokenizer: str = field(default_factory=lambda: make_tokenizer().to_str())
    version: int = 1
    change: Mapping[str, Output | None] = field(default_factory=dict)

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Any]:
        """Answer as a server would."""
        if signature == BUNDLE_INFO:
            everything: dict[str, Output | None] = {
                "manifest": lambda _: np.array([self.manifest.to_json().encode()], object),
                "tokenizer": lambda _: np.array([self.tokenizer.encode()], object),
            }
        elif signature in self.manifest.signatures:
            length = self.manifest.signatures[signature]
            assert {array.shape[1] for array in inputs.values()} == {length}
            everything = {
                "label_ids": lambda arrays: TABLE[arrays["input_ids"]],
                "label_scores": _label_scores,
                "logits": _logits,
                "scores": _scores,
                "sentence_embedding": _sentence_embedding,
                "value": lambda arrays: arrays["input_ids"][:, 1].astype(np.float32),
                "start_logits": _start_logits,
                "end_logits": _end_logits,
                "token_ids": _token_ids,
                "token_scores": _token_scores,
            }
        else:
            raise SignatureNotFound(f'Serving signature key "{signature}" not found.', code="FAILED_PRECONDITION")
        everything |= {name: output for name, output in self.change.items() if name in everything}
        return {name: output(inputs) for name in outputs if (output := everything[name]) is not None}


class FakeTransport:
    """Answers each call from the next of some models, and from then on from the last one. Records the calls."""

    def __init__(self, *served: Model) -> None:
        self.served = list(served) or [Model()]
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
            current = self.served.pop(0) if len(self.served) > 1 else self.served[0]
        return Prediction(current.run(call.signature, call.inputs, call.outputs), current.version)

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        del model, timeout
        return [VersionStatus(self.served[0].version, "AVAILABLE", "OK", "")]

    def close(self) -> None:
        """See `Transport.close`."""
        self.closed = True

    @property
    def signatures(self) -> list[str]:
        """The signatures asked, in order."""
        return [call.signature for call in self.calls]


class FakeAsyncTransport:
    """`FakeTransport` with coroutines."""

    def __init__(self, *served: Model) -> None:
        self.inner = FakeTransport(*served)
        self.most = self.running = 0

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """See `Transport.predict`; counts the calls in flight."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.001)
            return self.inner.predict(call, timeout=timeout)
        finally:
            self.running -= 1

    async def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        return self.inner.status(model, timeout=timeout)

    async def close(self) -> None:
        """See `Transport.close`."""
        self.inner.close()


Method = Callable[[bytes, grpc.ServicerContext], bytes]
PREDICT = "tensorflow.serving.PredictionService"
STATUS = "tensorflow.serving.ModelService"


class FakeServer:
    """A gRPC server in threads of this process, of methods from bytes to bytes."""

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
        """Stop it."""
        self._server.stop(None).wait()


def answers_of(model: Model, *, as_content: bool = False) -> Method:
    """Return the Predict method of a server of one model, named ``tiny``."""

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        request = wire.PredictRequest.FromString(data)
        spec = request.model_spec
        if spec.name != "tiny":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        try:
            arrays = model.run(spec.signature_name, decode_tensors(request.inputs), request.output_filter)
        except SignatureNotFound as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        response = wire.PredictResponse(outputs=encode_tensors(arrays, as_content=as_content))
        response.model_spec.version.value = model.version
        return response.SerializeToString()

    return predict


def available(data: bytes, context: grpc.ServicerContext) -> bytes:
    """Answer GetModelStatus: version 2 loads, version 1 serves, version 0 failed."""
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


def write_bundle(base: Path) -> None:
    """Write version 1 of the small model as a bundle of an ONNX graph: two table look-ups and a sum."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    scores = (0.5 + STEP * np.arange(len(WORDS))).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["label_ids"]),
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
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(scores, "scores")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    specs = (
        OutputSpec("logits", "int32", ("batch", "length")),
        OutputSpec("label_ids", "int32", ("batch", "length")),
        OutputSpec("label_scores", "float32", ("batch", "length")),
    )
    bundle = base / "1"
    bundle.mkdir(parents=True)
    onnx.save(model, bundle / "model.onnx")
    (bundle / "bundle.json").write_text(make_manifest(outputs=specs).to_json(), encoding="utf-8")
    (bundle / "tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
