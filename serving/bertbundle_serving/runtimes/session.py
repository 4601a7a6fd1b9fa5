"""Run a SavedModel in a TensorFlow session, as TensorFlow Serving does.

A session feeds and fetches the tensors that a signature names. It compares no shapes with the declared ones: the graph
decides what it computes. Errors are those of the graph, without the place in the code that built it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle.wire.data_types import BFLOAT16
from bertbundle_serving.errors import CODES, RequestError, invalid_argument
from bertbundle_serving.runtimes.base import Outputs

__all__ = ["SavedModelSession"]

_SERVE_TAG = "serve"
# Signatures whose names begin so are TensorFlow's own: the operation that initializes tables, for example.
_INTERNAL_PREFIX = "__saved_model"
# A callable is made for each selection of outputs; a client can ask for a large number of them.
_MAX_CALLABLES = 256

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _FlatStrings:
    """Tensors that pass strings as a vector and a shape.

    TensorFlow's conversion of a string array of more than 32 dimensions from or to numpy ends the process.

    Attributes:
        names: the tensors of the vector and of the shape.
        joined: the tensor of the strings in their shape; empty for fetches, which need none.
    """

    names: tuple[str, str]
    joined: str = ""


class SavedModelSession:
    """A session with the graph and the variables of a SavedModel. Several threads may call `run` at the same time.

    Args:
        tf: the module tensorflow.
        directory: the directory of saved_model.pb.
        threads: threads of one operation.
        inter_op_threads: threads for independent operations; None is TensorFlow's default.
        device: "cpu", which hides GPUs, or "cuda".

    Attributes:
        definitions: the SignatureDef messages by name.
    """

    def __init__(
        self, tf: Any, directory: Path, threads: int, inter_op_threads: int | None, device: str = "cpu"
    ) -> None:
        from tensorflow.python.saved_model.loader_impl import SavedModelLoader

        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=inter_op_threads or 0
        )
        if device == "cpu":
            config.device_count["GPU"] = 0
        else:
            config.gpu_options.allow_growth = True  # else it takes all memory of the GPU
            # float32 as it was verified, not TensorFloat-32 with its 10 bits of mantissa.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._tf = tf
        self._bfloat16 = np.dtype(tf.bfloat16.as_numpy_dtype)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        loader = SavedModelLoader(str(directory))
        definition = loader.get_meta_graph_def_from_tags([_SERVE_TAG])
        _clear_scalar_placeholders(definition.graph_def)
        loader.load(self._session, [_SERVE_TAG])
        self.definitions: Mapping[str, Any] = {
            name: signature
            for name, signature in definition.signature_def.items()
            if not name.startswith(_INTERNAL_PREFIX)
        }
        self._fed_strings, self._fetched_strings = self._flatten_strings()
        self._callables: dict[tuple[str, tuple[str, ...]], Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs of a signature from all its inputs.

        Raises:
            RequestError: the graph's error with its code and text; INVALID_ARGUMENT, numpy cannot represent an output.
        """
        definition = self.definitions[signature]
        arguments: list[_Array] = []
        for alias, info in sorted(definition.inputs.items()):
            arguments += self._to_feeds(info, inputs[alias])
        names = tuple(sorted(outputs))
        try:
            results = iter(self._callable(signature, names)(*arguments))
        except self._tf.errors.OpError as error:
            raise RequestError(CODES[error.error_code], error.message) from error
        except ValueError as error:
            raise invalid_argument(f"cannot represent an output as an array: {error}") from error
        return {alias: self._from_fetches(definition.outputs[alias], results) for alias in names}

    def close(self) -> None:
        """Free the variables."""
        self._callables.clear()
        self._session.close()

    def _flatten_strings(self) -> tuple[dict[str, _FlatStrings], dict[str, _FlatStrings]]:
        """Add the tensors to the graph that pass string inputs and outputs, and return them by the tensor's name."""
        tf, fed, fetched = self._tf, dict[str, _FlatStrings](), dict[str, _FlatStrings]()
        with self._session.graph.as_default():
            for definition in self.definitions.values():
                for tensor in self._string_tensors(definition.inputs):
                    flat = tf.compat.v1.placeholder(tf.string, [None])
                    shape = tf.compat.v1.placeholder(tf.int64, [None])
                    fed[tensor.name] = _FlatStrings((flat.name, shape.name), tf.reshape(flat, shape).name)
                for tensor in self._string_tensors(definition.outputs):
                    flat, shape = tf.reshape(tensor, [-1]), tf.shape(tensor, out_type=tf.int64)
                    fetched[tensor.name] = _FlatStrings((flat.name, shape.name))
        return fed, fetched

    def _string_tensors(self, infos: Mapping[str, Any]) -> Iterator[Any]:
        for info in infos.values():
            if info.dtype == self._tf.string.as_datatype_enum and info.name:
                try:
                    yield self._session.graph.get_tensor_by_name(info.name)
                except (KeyError, ValueError):  # no such tensor: the call will say so
                    continue

    def _callable(self, signature: str, outputs: tuple[str, ...]) -> Callable[..., list[Any]]:
        with self._lock:
            found = self._callables.get((signature, outputs))
            if found is None:
                if len(self._callables) >= _MAX_CALLABLES:
                    del self._callables[next(iter(self._callables))]
                found = self._callables[signature, outputs] = self._make_callable(signature, outputs)
            return found

    def _make_callable(self, signature: str, outputs: Sequence[str]) -> Callable[..., list[Any]]:
        from tensorflow.core.protobuf.config_pb2 import CallableOptions

        definition, options = self.definitions[signature], CallableOptions()
        for _, info in sorted(definition.inputs.items()):
            strings = self._fed_strings.get(info.name)
            options.feed.extend(strings.names if strings else [info.name])
            if strings:
                options.tensor_connection.add(from_tensor=strings.joined, to_tensor=info.name)
        for alias in outputs:
            name = definition.outputs[alias].name
            strings = self._fetched_strings.get(name)
            options.fetch.extend(strings.names if strings else [name])
        made: Callable[..., list[Any]] = self._session._make_callable_from_options(options)  # noqa: SLF001
        return made

    def _to_feeds(self, info: Any, array: _Array) -> list[_Array]:
        if info.name in self._fed_strings:
            return [array.reshape(-1), np.array(array.shape, np.int64)]
        # In C order; not `ascontiguousarray`, which makes a vector of a scalar.
        ordered = np.asarray(array, order="C")
        return [ordered.view(self._bfloat16) if ordered.dtype == BFLOAT16 else ordered]

    def _from_fetches(self, info: Any, results: Iterator[Any]) -> _Array:
        array = np.asarray(next(results))
        if info.name in self._fetched_strings:
            return _reshaped(array, next(results))
        return array.view(BFLOAT16) if array.dtype == self._bfloat16 else array


def _reshaped(strings: _Array, shape: _Array) -> _Array:
    try:
        return strings.reshape(tuple(shape))
    except ValueError as error:
        raise invalid_argument(f"cannot represent an output of shape {shape.tolist()} as an array: {error}") from error


def _clear_scalar_placeholders(graph: Any) -> None:
    """Give placeholders that are declared as scalars an unknown rank.

    Old TensorFlow declared unknown shapes so. Python checks the shapes of a graph when it imports the graph; TensorFlow
    Serving, which does not, feeds them with anything.
    """
    for node in graph.node:
        if node.op == "Placeholder" and "shape" in node.attr and not node.attr["shape"].shape.dim:
            node.attr["shape"].shape.unknown_rank = True
