"""What a checkpoint format says about a head that transformers has no class for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertbundle_export.checkpoints.base import StateDict

__all__ = ["PackageHead", "bert_layer"]


@dataclass(frozen=True, slots=True)
class PackageHead:
    """A head made of a package's own layers.

    Attributes:
        class_suffix: that of its task, see `Task`.
        build_model, init_args: as in `Description`.
        variables: the names in the file of the built model's variables, by their names in the model; None for a bias
            that the file does not have, which is 0.
    """

    class_suffix: str
    build_model: Callable[..., Any]
    init_args: Mapping[str, Any]
    variables: Mapping[str, str | None]

    def rename(self, weights: StateDict) -> StateDict:
        """Return a file's weights by their names in the model."""
        present = {new: weights[name] for new, name in self.variables.items() if name is not None}
        missing = [new for new, name in self.variables.items() if name is None]
        kernels = {name: present[name.removesuffix("bias") + "kernel"] for name in missing}
        return present | {name: np.zeros(kernel.shape[1], np.float32) for name, kernel in kernels.items()}


def bert_layer(config: Any) -> tuple[dict[str, Any], Any]:
    """Return Keras inputs by name, and the token vectors ``[batch, length, hidden]`` of a layer ``bert`` for them.

    Args:
        config: a BertConfig.
    """
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    return inputs, TFBertMainLayer(config, add_pooling_layer=False, name="bert")(inputs)["last_hidden_state"]
