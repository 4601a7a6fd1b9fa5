"""Several Dense layers after BERT in a Keras file, which the user names as heads: a layer for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from bertbundle_export.checkpoints.base import Description, StateDict
from bertbundle_export.checkpoints.formats._dense_head import (
    activations_after,
    bert_inputs_of,
    check_head_input,
    find_problem_type,
    input_of,
)
from bertbundle_export.checkpoints.heads.pooled import classifier_with_heads
from bertbundle_export.checkpoints.readers.keras_file import KerasFile, Shapes, layers_before
from bertbundle_export.errors import CheckpointError
from bertbundle_export.tasks import HeadSpec

__all__ = ["describe_heads", "describe_layers", "rename_heads"]

_TOKENS = "tokens"


def describe_heads(
    description: Description, file: KerasFile, outside: Shapes, heads: Mapping[str, HeadSpec]
) -> Description:
    """Return a description with the heads, each as the file states it, and how their model is built.

    Args:
        description: of the file; its configuration gets the name of the class.
        file: the file.
        outside: shapes of the variables outside BERT.
        heads: what the user states about each head, by the name of its output or its layer.

    Raises:
        CheckpointError: a head is not one Dense layer, it may depend on layers that no head names, or the file
            contradicts the user.
    """
    hidden = description.config["hidden_size"]
    if description.config["model_type"] != "bert":
        raise CheckpointError(
            f"{file.path} has the encoder {description.config['model_type']}: several heads are read from files of "
            "BERT only. Load the model with its own code and export it from Python: export_bundle(model, heads=...)."
        )
    layers_of = _layers(file, outside, heads)
    kernels = {name: _kernel(file, outside, layer) for name, layer in layers_of.items()}
    expected: dict[str, tuple[int, ...]] = {
        kernel: (hidden, _columns(head)) for kernel, head in zip(kernels.values(), heads.values(), strict=True)
    }
    expected |= {_bias(kernel): shape[1:] for kernel, shape in expected.items() if _bias(kernel) in outside}
    _check_columns(file, outside, kernels, heads)
    others = _others(file, outside, [*layers_of.values()])
    if {name: shape for name, shape in outside.items() if name not in others} != expected:
        found = ", ".join(f"{name} {list(size)}" for name, size in sorted(outside.items())[:8])
        raise CheckpointError(
            f"{file.path} must have BERT and a Dense layer for each head, with a column per label, of "
            f"{', '.join(f'{kernel} {list(shape)}' for kernel, shape in expected.items())}: found {found}. Load "
            "another model with its own code and export it from Python: export_bundle(model, heads=...). Only a whole "
            "model (model.save) may have layers that no head names."
        )
    stated = {name: _as_stored(file, name, layers_of[name], head) for name, head in heads.items()}
    layers = [(name, _columns(head), head.pooling or _TOKENS) for name, head in stated.items()]
    notes = (f"{file.path.name} also has {', '.join(_layers_of(others))}, which no head names.",) if others else ()
    return replace(
        description,
        notes=(*description.notes, *notes),
        config={**description.config, "architectures": [f"Bert with the heads {', '.join(heads)}"]},
        heads=stated,
        build_model=classifier_with_heads,
        init_args={"heads": layers, "inputs": bert_inputs_of(file.path, file.layers)},
    )


def describe_layers(description: Description, file: KerasFile, outside: Shapes, problem: str) -> Description:
    """Return a description that names the layers after BERT, for `inspect`; `problem` is why they are not one head."""
    layers = ", ".join(_describe_layer(file, outside, name) for name in _layers_of(outside))
    stored = {key: value for key, value in description.config.items() if key not in ("id2label", "label2id")}
    config = {**stored, "architectures": [f"Bert with the layers {layers}"]}
    return replace(description, config=config, problem=problem)


def _describe_layer(file: KerasFile, outside: Shapes, name: str) -> str:
    """Return the name of a layer, its number of columns, and whether it reads a vector of the text or all tokens."""
    columns = [shape[-1] for key, shape in outside.items() if f"/{key}".endswith(f"/{name}/kernel") and shape]
    source = input_of(file.layers, name)
    facts = [f"{columns[0]} columns"] if columns else []
    facts += ["per token" if source == _TOKENS else "per text"] if source else []
    return f"{name} ({', '.join(facts)})" if facts else name


def rename_heads(weights: StateDict, file: KerasFile, heads: Iterable[str]) -> StateDict:
    """Rename the Dense layers as `classifier_with_heads` does; one without a bias gets a bias of zeros."""
    renamed: StateDict = {}
    shapes = {name: value.shape for name, value in weights.items()}
    for index, layer in enumerate(_layers(file, shapes, heads).values()):
        kernel = _kernel(file, shapes, layer)
        bias = weights.get(_bias(kernel), np.zeros(weights[kernel].shape[1], np.float32))
        renamed |= {f"head_{index}/kernel": weights[kernel], f"head_{index}/bias": bias}
    return renamed


def _layers(file: KerasFile, shapes: Shapes, heads: Iterable[str]) -> dict[str, str]:
    """Return the name of each head's Dense layer.

    Raises:
        CheckpointError: several heads have the same, or it is unclear which one a head has.
    """
    layers = {name: _layer(file, shapes, name) for name in heads}
    for name, layer in layers.items():
        others = [other for other, found in layers.items() if found == layer and other != name]
        if others:
            raise CheckpointError(
                f"{file.path} computes the heads {name} and {others[0]} by the same layer, {layer}: an output has the "
                f"name of one, a layer that of the other. Name the heads as the outputs: {', '.join(file.outputs)}."
            )
    return layers


def _layer(file: KerasFile, shapes: Shapes, head: str) -> str:
    """Return the name of the Dense layer that the output with a head's name is computed by; without one, the head's."""
    names = (head, f"{head}_logits", f"{head}.logits")
    found = {_dense_layer(file, shapes, file.outputs[name]) for name in names if name in file.outputs}
    if len(found) > 1:
        raise CheckpointError(
            f"{file.path} has several outputs that could be the head {head}, of the layers {', '.join(sorted(found))}. "
            "Rename one of them, and save the model again."
        )
    return found.pop() if found else head


def _dense_layer(file: KerasFile, shapes: Shapes, name: str) -> str:
    """Return the layer with a kernel that a layer such as an Activation reads; itself if it reads none."""
    seen = [name]
    while not _kernels_of(shapes, seen[-1]):
        sources = file.layers[seen[-1]].sources if seen[-1] in file.layers else ()
        if len(sources) != 1 or sources[0][0] in seen:
            return name
        seen.append(sources[0][0])
    return seen[-1]


def _kernels_of(shapes: Shapes, layer: str) -> list[str]:
    return [name for name in shapes if f"/{name}".endswith(f"/{layer}/kernel")]


def _kernel(file: KerasFile, shapes: Shapes, layer: str) -> str:
    found = _kernels_of(shapes, layer)
    if len(found) != 1:
        layers = sorted({name.rpartition("/")[0] for name in shapes})
        raise CheckpointError(
            f"{file.path} has {len(found)} layers called {layer} after BERT, expected one for each head: its layers "
            f"are {', '.join(layers[:8]) or 'none'}. Name the heads as the layers."
        )
    return found[0]


def _check_columns(file: KerasFile, shapes: Shapes, kernels: Mapping[str, str], heads: Mapping[str, HeadSpec]) -> None:
    """Check the number of labels of each head whose layer is a Dense layer."""
    for name, head in heads.items():
        shape = shapes[kernels[name]]
        if head.labels and len(shape) == 2 and shape[1] != len(head.labels):
            raise CheckpointError(
                f"head {name}: {file.path} has {shape[1]} classes, but {len(head.labels)} labels were given: "
                f"{', '.join(head.labels)}. Give one label per class."
            )


def _layers_of(names: Iterable[str]) -> list[str]:
    """Return the layers of variables, such as intent for intent/intent/kernel."""
    return sorted({name.rpartition("/")[0].rpartition("/")[2] for name in names})


def _others(file: KerasFile, outside: Shapes, layers: Collection[str]) -> set[str]:
    """Return the variables outside BERT that no head depends on; a file of weights does not say which these are.

    Args:
        file: the file.
        outside: shapes of the variables outside BERT.
        layers: the Dense layer of each head.
    """
    if any(input_of(file.layers, name) is None for name in layers):
        return set()
    needed = {layer for name in layers for layer in layers_before(file.layers, name)}
    spare = file.layers.keys() - needed
    return {name for name in outside if spare & {*name.split("/")} and needed.isdisjoint(name.split("/"))}


def _bias(kernel: str) -> str:
    return f"{kernel.removesuffix('kernel')}bias"


def _columns(head: HeadSpec) -> int:
    return len(head.labels) or 1


def _as_stored(file: KerasFile, name: str, layer: str, head: HeadSpec) -> HeadSpec:
    """Return a head with the pooling and the kind of classes that the file states for its layer.

    Raises:
        CheckpointError: the user states others, or the file does not state the pooling, and neither does the user.
    """
    check_head_input(file.path, file.layers, layer, task=head.task, pooling=head.pooling)
    activations = activations_after(file.layers, layer)
    problem = find_problem_type(file.path, layer, activations, head.task)
    is_softmax = "softmax" in activations
    if (is_softmax and head.multi_label) or (problem and head.multi_label is False):
        raise CheckpointError(
            f"{file.path} has the activation {'softmax' if is_softmax else 'sigmoid'} after its layer {layer}, which "
            f"contradicts multi_label={head.multi_label}. Leave it out, to export what the file has."
        )
    if head.task == "token-classification":
        return head
    pooling = head.pooling or input_of(file.layers, layer)
    if pooling is None:
        raise CheckpointError(
            f"{file.path} does not state the input of the Dense layer {layer}. State it: --head-option "
            f"{name}.pooling=cls (the first token), pooler, mean or max (HeadSpec(pooling=...) in Python)."
        )
    return replace(head, pooling=pooling, multi_label=bool(problem) or head.multi_label)
