"""BERTs published on TF Hub: a SavedModel of TensorFlow 2, called with a list or a dict, or a TF1 Hub module.

Source of the variable names: tensorflow/models, official/nlp/bert/tf1_checkpoint_converter_lib.py, which converted
Google's checkpoints to these models. Attention kernels have the heads as a separate dimension there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from google.protobuf.message import DecodeError

from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.readers._tensorflow_pb2 import MetaGraph, SavedModel
from bertbundle_export.checkpoints.readers.tensor_bundle import (
    OBJECT_GRAPH,
    TensorBundle,
    checkpoint_keys,
    read_index,
    read_raw,
    read_tensors,
)
from bertbundle_export.checkpoints.readers.tf1_names import LAYER, WORD_EMBEDDINGS, check_bert, is_weight, to_pytorch
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import check_config

__all__ = ["FORMAT"]

_LAYER = r"(?:encoder|transformer)/layer_(\d+)/"
_NAMES = (
    (r"word_embeddings/embeddings", "embeddings/word_embeddings"),
    (r"embedding_postprocessor/position_embeddings|position_embedding/embeddings", "embeddings/position_embeddings"),
    (r"embedding_postprocessor/type_embeddings|type_embeddings/embeddings", "embeddings/token_type_embeddings"),
    (r"(?:embedding_postprocessor|embeddings)/layer_norm/(\w+)", r"embeddings/LayerNorm/\1"),
    (rf"{_LAYER}self_attention/(query|key|value)/(\w+)", r"encoder/layer_\1/attention/self/\2/\3"),
    (rf"{_LAYER}self_attention(?:_output|/attention_output)/(\w+)", r"encoder/layer_\1/attention/output/dense/\2"),
    (rf"{_LAYER}self_attention_layer_norm/(\w+)", r"encoder/layer_\1/attention/output/LayerNorm/\2"),
    (rf"{_LAYER}intermediate/(\w+)", r"encoder/layer_\1/intermediate/dense/\2"),
    (rf"{_LAYER}output/(\w+)", r"encoder/layer_\1/output/dense/\2"),
    (rf"{_LAYER}output_layer_norm/(\w+)", r"encoder/layer_\1/output/LayerNorm/\2"),
    (r"pooler_transform/(\w+)", r"pooler/dense/\1"),
)
_MLM = re.compile(r"(?:.*/)?(cls/predictions/(?:transform/.+|output_bias))(?:/bias)?")
# Keras adds a number to a name that is already used.
_NUMBER_SUFFIX = re.compile(r"(kernel|gamma|beta|bias|embeddings)_\d+$")
# The operation that identifies the activation: newer versions of tf.nn.gelu use Erfc; only its approximation has a Pow.
_ACTIVATIONS = {"Erf": "gelu", "Erfc": "gelu", "Pow": "gelu_new", "Relu": "relu"}
_INPUTS = {
    "input_word_ids": "input_ids",
    "input_ids": "input_ids",
    "input_mask": "attention_mask",
    "input_type_ids": "token_type_ids",
    "segment_ids": "token_type_ids",
}
_LOWERCASE = "do_lower_case/.ATTRIBUTES/VARIABLE_VALUE"
_HEAD_SIZE = 64  # in all of Google's models


class TfHubFormat:
    """See `CheckpointFormat`."""

    name = "tf-hub"
    expected = "a TF Hub directory with saved_model.pb, variables/ and assets/vocab.txt"

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        return (path / "saved_model.pb").is_file()

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        del options
        graphs = _meta_graphs(path)
        bundle = read_index(path / "variables" / "variables")
        shapes = {name: bundle.entries[key].shape for name, key in _keys(bundle).items()}
        check_bert(shapes, path)
        config = _config(shapes) | {"hidden_act": _activation(graphs, path)}
        check_config(config, path)
        return Description(
            self.name,
            path,
            "SavedModel" if OBJECT_GRAPH in bundle.entries else "TF1 Hub module",
            bundle.files,
            config,
            _vocab(path / "assets"),
            bool(read_raw(bundle, _LOWERCASE)[0]) if _LOWERCASE in bundle.entries else None,
            run_graph=functools.partial(_run, path, [list(graph.meta_info_def.tags) for graph in graphs]),
        )

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        del options
        bundle = read_index(description.path / "variables" / "variables")
        keys = {name: key for name, key in _keys(bundle).items() if is_weight(name, bundle.entries[key])}
        values = read_tensors(bundle, keys.values())
        return dict(to_pytorch(name, _merge_heads(name, values[key])) for name, key in keys.items())


FORMAT = TfHubFormat()


def _meta_graphs(path: Path) -> list[MetaGraph]:
    file = path / "saved_model.pb"
    try:
        graphs = list(SavedModel.FromString(file.read_bytes()).meta_graphs)
    except DecodeError as error:
        raise CheckpointError(f"{file} is not a SavedModel, or is truncated: {error}. Download it again.") from error
    if not graphs:
        raise CheckpointError(
            f"{file} ({file.stat().st_size} bytes) is a SavedModel without a graph. Download it again."
        )
    return graphs


def _keys(bundle: TensorBundle) -> dict[str, str]:
    """Return the key of each variable by its name in Google's original checkpoints, or by its own if it has none."""
    if OBJECT_GRAPH not in bundle.entries:
        return {name: name for name in bundle.entries}
    found: dict[str, str] = {}
    for variable, key in checkpoint_keys(bundle).items():
        name = _google_name(variable)
        if found.setdefault(name, key) != key:
            raise CheckpointError(
                f"{bundle.prefix} has two candidates for the variable {name}: {found[name]} and {key}."
            )
    return found


def _google_name(variable: str) -> str:
    name = _NUMBER_SUFFIX.sub(r"\1", variable).removeprefix("bert_model/")
    if mlm := _MLM.fullmatch(name):
        return mlm[1]
    for pattern, replacement in _NAMES:
        if match := re.fullmatch(pattern, name):
            return "bert/" + match.expand(replacement)
    return variable


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    layers = {int(match[1]) for match in map(LAYER.match, shapes) if match}
    query = shapes.get("bert/encoder/layer_0/attention/self/query/kernel", ())
    vocab_size, hidden_size = shapes[WORD_EMBEDDINGS]
    return {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": len(layers),
        "num_attention_heads": query[1] if len(query) == 3 else max(1, hidden_size // _HEAD_SIZE),
        "intermediate_size": shapes.get("bert/encoder/layer_0/intermediate/dense/bias", (None,))[0],
        "max_position_embeddings": shapes.get("bert/embeddings/position_embeddings", (None,))[0],
        "type_vocab_size": shapes.get("bert/embeddings/token_type_embeddings", (None,))[0],
        "layer_norm_eps": 1e-12,
    }


def _activation(graphs: list[MetaGraph], path: Path) -> str:
    ops = {op for graph in graphs for op in _ops(graph)}
    found = [activation for op, activation in _ACTIVATIONS.items() if op in ops]
    if not found:
        raise CheckpointError(
            f"{path} has no supported activation: its graph has none of the operations {', '.join(_ACTIVATIONS)}. The "
            "graph must call the BERT that the weights belong to."
        )
    return found[0]


def _ops(graph: MetaGraph) -> Iterator[str]:
    yield from (node.op for node in graph.graph_def.node)
    yield from (node.op for function in graph.graph_def.library.function for node in function.node_def)


def _vocab(assets: Path) -> Path | None:
    found = [assets / "vocab.txt"] if (assets / "vocab.txt").is_file() else sorted(assets.glob("*.txt"))
    return found[0] if len(found) == 1 else None


def _merge_heads(name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Merge the dimensions of the heads and of their size into one."""
    if "/attention/output/dense/kernel" in name:
        return value.reshape(-1, value.shape[-1])
    if "/attention/self/" in name:
        return value.reshape(value.shape[0], -1) if name.endswith("kernel") else value.reshape(-1)
    return value


# ---- the graph


def _run(path: Path, tags: list[list[str]], inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Call the SavedModel: the rebuilt model is compared with its outputs."""
    from bertbundle_export.tensorflow_import import tf

    try:
        # The inference graph of a TF1 module has no tags.
        loaded = tf.saved_model.load(str(path), tags=None if len(tags) == 1 else min(tags, key=len))
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = (_call if callable(loaded) else _call_signature)(loaded, tensors)
    except (OSError, KeyError, StopIteration, TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
        raise CheckpointError(f"{path} cannot be called as a BERT model of TF Hub: {error}.") from error
    return {name: value.numpy() for name, value in outputs.items()}


def _call(loaded: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    functions = loaded.__call__.concrete_functions
    function = next(item for item in functions if True not in item.structured_input_signature[0])
    (first, *others), named = function.structured_input_signature
    packed = {name: tensors[_INPUTS[name]] for name in first} if isinstance(first, dict) else [*tensors.values()]
    outputs = function(packed, *others, **named)
    if isinstance(outputs, dict):
        return {"last_hidden_state": outputs["sequence_output"], "pooler_output": outputs["pooled_output"]}
    pooled, sequence = outputs
    return {"last_hidden_state": sequence, "pooler_output": pooled}


def _call_signature(loaded: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Call the signature of a TF1 Hub module of BERT."""
    if "tokens" not in loaded.signatures:
        raise ValueError(f"expected __call__ or a signature 'tokens', found signatures {list(loaded.signatures)}")
    function = loaded.signatures["tokens"]
    outputs = function(**{name: tensors[_INPUTS[name]] for name in function.structured_input_signature[1]})
    return {"last_hidden_state": outputs["sequence_output"], "pooler_output": outputs["pooled_output"]}
