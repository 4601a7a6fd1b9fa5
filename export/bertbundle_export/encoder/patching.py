"""Patch a Keras model with faster encoders while it is traced; the model itself is not changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bertbundle_export.encoder.tf_graph import EncoderGraph
from bertbundle_export.encoder.weights import EncoderWeights, read_encoder

__all__ = ["patched_encoders"]

# Arguments of a main layer's call that the encoder graph does not support: with one of them the layer's own code runs.
_UNSUPPORTED_ARGUMENTS = (
    "position_ids",
    "head_mask",
    "inputs_embeds",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "past_key_values",
    "training",
)


@contextmanager
def patched_encoders(
    model: Any, build_graph: Callable[[EncoderWeights], EncoderGraph]
) -> Iterator[Sequence[EncoderGraph]]:
    """Replace the call of every main layer that `read_encoder` supports while the context is open.

    Args:
        model: any Keras model: one of transformers, or the user's own.
        build_graph: builds the graph of an encoder.

    Yields:
        The graphs that are called instead.
    """
    layers = (model, *getattr(model, "submodules", ()))
    read = [(layer, read_encoder(layer)) for layer in layers]
    graphs = [(layer, build_graph(weights)) for layer, weights in read if weights is not None]
    try:
        for layer, graph in graphs:
            vars(layer)["call"] = _patched_call(layer, graph)  # not by assignment: Keras would track it
        yield [graph for _, graph in graphs]
    finally:
        for layer, _ in graphs:
            vars(layer).pop("call", None)


def _patched_call(layer: Any, graph: EncoderGraph) -> Callable[..., Any]:
    """Return a replacement for a main layer's call that falls back to it for unsupported arguments."""
    own_call = type(layer).call
    signature = inspect.signature(own_call)

    def call(*args: Any, **kwargs: Any) -> Any:
        arguments = _by_name(signature.bind(layer, *args, **kwargs).arguments)
        if not _is_supported(arguments, layer.config):
            return own_call(layer, *args, **kwargs)
        return _call_graph(layer, graph, arguments)

    return call


def _by_name(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arguments by name also if the first one has them in a dict, as transformers' layers allow."""
    first = arguments.get("input_ids")
    return {**arguments, **first} if isinstance(first, Mapping) else arguments


def _is_supported(arguments: Mapping[str, Any], config: Any) -> bool:
    values = [arguments.get(name) for name in _UNSUPPORTED_ARGUMENTS]
    unsupported = any(value is not None and value is not False for value in values)
    ranks = {value.shape.rank for value in _inputs(arguments) if hasattr(value, "shape")}
    return not unsupported and ranks == {2} and not _option(arguments, config, "output_attentions")


def _inputs(arguments: Mapping[str, Any]) -> list[Any]:
    return [arguments.get(name) for name in ("input_ids", "attention_mask", "token_type_ids")]


def _option(arguments: Mapping[str, Any], config: Any, name: str) -> bool:
    value = arguments.get(name)
    return bool(getattr(config, name) if value is None else value)


def _call_graph(layer: Any, graph: EncoderGraph, arguments: Mapping[str, Any]) -> Any:
    """Call the graph and return its hidden states in the form that the layer's own call returns."""
    from bertbundle_export.tensorflow_import import tf

    ids, mask, types = _inputs(arguments)
    all_states = _option(arguments, layer.config, "output_hidden_states")
    mask = tf.ones_like(ids) if mask is None else mask
    types = tf.zeros_like(ids) if types is None else types
    states = graph(*(tf.cast(value, tf.int32) for value in (ids, mask, types)), all_states=all_states)
    as_dict = _option(arguments, layer.config, "return_dict")
    return _layer_output(layer, states[-1], states if all_states else None, as_dict=as_dict)


def _layer_output(layer: Any, last: Any, hidden_states: tuple[Any, ...] | None, *, as_dict: bool) -> Any:
    from transformers.modeling_tf_outputs import (
        TFBaseModelOutputWithPastAndCrossAttentions,
        TFBaseModelOutputWithPoolingAndCrossAttentions,
    )

    if not hasattr(layer, "pooler"):
        output = TFBaseModelOutputWithPastAndCrossAttentions(last_hidden_state=last, hidden_states=hidden_states)
        return output if as_dict else output.to_tuple()
    pooled = layer.pooler(hidden_states=last) if layer.pooler is not None else None
    if not as_dict:
        return (last, pooled) if hidden_states is None else (last, pooled, hidden_states)
    return TFBaseModelOutputWithPoolingAndCrossAttentions(
        last_hidden_state=last, pooler_output=pooled, hidden_states=hidden_states
    )
