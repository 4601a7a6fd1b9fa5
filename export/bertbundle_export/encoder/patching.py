"""Put encoders made for inference into a Keras model while it is traced; the model itself stays as it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bertbundle_export.encoder.tf_graph import EncoderGraph
from bertbundle_export.encoder.weights import Encoder, read_encoder

__all__ = ["swapped_encoders"]

# Arguments of a main layer's call that the encoder does not know: given one, the layer's own code runs.
_UNKNOWN = (
    "position_ids",
    "head_mask",
    "inputs_embeds",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "past_key_values",
    "training",
)


@contextmanager
def swapped_encoders(model: Any, make: Callable[[Encoder], EncoderGraph]) -> Iterator[Sequence[EncoderGraph]]:
    """Swap every main layer of a model that `read_encoder` understands, for as long as the context lasts.

    Args:
        model: any Keras model; transformers' own, or a subclass of the user's.
        make: builds the graph of an encoder.

    Yields:
        The graphs that stand in.
    """
    parts = (model, *getattr(model, "submodules", ()))
    read = [(part, read_encoder(part)) for part in parts]
    graphs = [(layer, make(encoder)) for layer, encoder in read if encoder is not None]
    try:
        for layer, graph in graphs:
            vars(layer)["call"] = _stand_in(layer, graph)  # not by assignment: Keras would track it
        yield [graph for _, graph in graphs]
    finally:
        for layer, _ in graphs:
            vars(layer).pop("call", None)


def _stand_in(layer: Any, graph: EncoderGraph) -> Callable[..., Any]:
    """Return a function that takes a main layer's call, and hands on to it what the graph does not know."""
    original = type(layer).call
    signature = inspect.signature(original)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(layer, *args, **kwargs).arguments
        if not _known(given, layer.config):
            return original(layer, *args, **kwargs)
        return _answer(layer, graph, given)

    return call


def _known(given: Mapping[str, Any], config: Any) -> bool:
    unknown = any(given.get(name) is not None and given.get(name) is not False for name in _UNKNOWN)
    ranks = {value.shape.rank for value in _inputs(given) if hasattr(value, "shape")}
    return not unknown and ranks == {2} and not _option(given, config, "output_attentions")


def _inputs(given: Mapping[str, Any]) -> list[Any]:
    return [given.get(name) for name in ("input_ids", "attention_mask", "token_type_ids")]


def _option(given: Mapping[str, Any], config: Any, name: str) -> bool:
    value = given.get(name)
    return bool(getattr(config, name) if value is None else value)


def _answer(layer: Any, graph: EncoderGraph, given: Mapping[str, Any]) -> Any:
    from transformers import modeling_tf_outputs as outputs

    from bertbundle_export.tensorflow_import import tf

    ids, mask, types = _inputs(given)
    every = _option(given, layer.config, "output_hidden_states")
    mask = tf.ones_like(ids) if mask is None else mask
    types = tf.zeros_like(ids) if types is None else types
    states = graph(*(tf.cast(value, tf.int32) for value in (ids, mask, types)), every=every)
    last, all_states = states[-1], states if every else None
    as_dict = _option(given, layer.config, "return_dict")
    if not hasattr(layer, "pooler"):
        parted = outputs.TFBaseModelOutputWithPastAndCrossAttentions(last_hidden_state=last, hidden_states=all_states)
        return parted if as_dict else parted.to_tuple()
    pooled = layer.pooler(hidden_states=last) if layer.pooler is not None else None
    if not as_dict:
        return (last, pooled, states) if every else (last, pooled)
    return outputs.TFBaseModelOutputWithPoolingAndCrossAttentions(
        last_hidden_state=last, pooler_output=pooled, hidden_states=all_states
    )
