"""Heads of bert4keras after BERT: GlobalPointer, EfficientGlobalPointer, and a Dense layer with ConditionalRandomField.

Source of the names: files that bert4keras 0.11.5 wrote with TensorFlow 2.13, and its layers.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bertbundle_export.checkpoints.base import LoadOptions
from bertbundle_export.checkpoints.formats._dense_head import activations_after, find_dense_head, input_of
from bertbundle_export.checkpoints.heads.base import PackageHead
from bertbundle_export.checkpoints.heads.crf import crf_tagger
from bertbundle_export.checkpoints.heads.global_pointer import efficient_global_pointer, global_pointer
from bertbundle_export.checkpoints.readers.keras_file import KerasFile, Shapes
from bertbundle_export.errors import CheckpointError

__all__ = ["find_bert4keras_head"]

_POINTER, _EFFICIENT, _CRF = "GlobalPointer", "EfficientGlobalPointer", "ConditionalRandomField"
# The classes by Keras' default names of their layers, and their Dense layers in the built models.
_DEFAULT_NAMES = {
    "global_pointer": _POINTER,
    "efficient_global_pointer": _EFFICIENT,
    "conditional_random_field": _CRF,
}
_DENSE_LAYERS: Mapping[str, Sequence[str]] = {_POINTER: ("pointer",), _EFFICIENT: ("p_dense", "q_dense")}
_POINTER_VARIABLE = re.compile(r"(?:.+/)?([^/]+)/dense(?:_(\d+))?/(?:kernel|bias)")
_CRF_VARIABLE = re.compile(r"(?:.+/)?([^/]+)/_?trans")


def find_bert4keras_head(
    file: KerasFile, outside: Shapes, config: Mapping[str, Any], options: LoadOptions
) -> PackageHead | None:
    """Return the head that consists of the variables outside BERT; None if it is not one of these.

    What the file does not state is None in `PackageHead.init_args`; `LoadOptions.init_args` may state it.

    Args:
        file: the file.
        outside: shapes of the variables outside BERT.
        config: the configuration of BERT.
        options: the user's.

    Raises:
        CheckpointError: the variables or the layers of the head are not as bert4keras makes them, or the options
            contradict the file.
    """
    transitions = [match for match in map(_CRF_VARIABLE.fullmatch, outside) if match]
    crf = next((match for match in transitions if _kind(file, match[1]) == _CRF), None)
    if crf is not None:
        return _crf_head(file, outside, crf, config, options)
    layer = _only_layer(outside)
    kind = _pointer_kind(file, layer, outside, options) if layer else None
    return _pointer_head(file, outside, layer, kind, options) if kind else None


def _kind(file: KerasFile, layer: str) -> str | None:
    """Return the class of a layer: that of a whole model, else by Keras' default name of the layer."""
    if file.layers:
        return file.layers[layer].kind if layer in file.layers else None
    return _DEFAULT_NAMES.get(re.sub(r"_\d+$", "", layer))


# ---- GlobalPointer


def _only_layer(outside: Shapes) -> str:
    """Return the name of the layer that has all variables, in Dense layers of its own; else an empty string."""
    matches = [_POINTER_VARIABLE.fullmatch(name) for name in outside]
    names = {match[1] if match else "" for match in matches}
    return names.pop() if len(names) == 1 else ""


def _pointer_kind(file: KerasFile, layer: str, outside: Shapes, options: LoadOptions) -> str | None:
    """Return the class of a GlobalPointer layer; by its variables if only the user says that it is one."""
    kind = _kind(file, layer)
    if kind in _DENSE_LAYERS or file.layers or options.task != "span-classification":
        return kind if kind in _DENSE_LAYERS else None
    return _POINTER if len(_kernels(outside)) == 1 else _EFFICIENT


def _kernels(outside: Shapes) -> list[str]:
    """Return the names of the kernels in the order of the creation of their layers, which Keras numbers."""
    numbers = {name: match[2] for name in outside if (match := _POINTER_VARIABLE.fullmatch(name))}
    return sorted((name for name in numbers if name.endswith("/kernel")), key=lambda name: int(numbers[name] or 0))


def _pointer_head(file: KerasFile, outside: Shapes, layer: str, kind: str, options: LoadOptions) -> PackageHead:
    _check_task(file, kind, "span-classification", options)
    _check_place(file, first=layer, last=layer)
    kernels, names = _kernels(outside), _DENSE_LAYERS[kind]
    if len(kernels) != len(names):
        raise _unexpected(file, outside, f"a {kind} with {len(names)} Dense layers")
    variables: dict[str, str | None] = {}
    for kernel, name in zip(kernels, names, strict=True):
        bias = kernel.removesuffix("kernel") + "bias"
        variables |= {f"{name}/kernel": kernel, f"{name}/bias": bias if bias in outside else None}
    arguments = {**_stored(file, layer, ("RoPE", "head_size"), options), "units": outside[kernels[0]][1]}
    build: Callable[..., Any] = global_pointer
    if kind == _EFFICIENT:
        build, arguments["heads"] = efficient_global_pointer, outside[kernels[1]][1] // 2
    return PackageHead("ForSpanClassification", build, arguments, variables)


# ---- ConditionalRandomField


def _crf_head(
    file: KerasFile, outside: Shapes, crf: re.Match[str], config: Mapping[str, Any], options: LoadOptions
) -> PackageHead:
    rest = {name: shape for name, shape in outside.items() if name != crf[0]}
    dense = find_dense_head(file.path, rest, config["hidden_size"])
    if outside[crf[0]] != (dense.columns, dense.columns):
        raise _unexpected(file, outside, f"a {_CRF} of [{dense.columns}, {dense.columns}]")
    _check_task(file, _CRF, "token-classification", options)
    _check_place(file, first=dense.layer, last=crf[1])
    if file.layers:
        _check_logits(file, dense.layer, crf[1])
    return PackageHead(
        "ForTokenClassification",
        crf_tagger,
        {**_stored(file, crf[1], ("lr_multiplier",), options), "labels": dense.columns},
        {"classifier/kernel": dense.kernel, "classifier/bias": dense.bias, "crf/transitions": crf[0]},
    )


def _check_logits(file: KerasFile, dense: str, crf: str) -> None:
    """Check that a CRF reads the outputs of the Dense layer, and that this has no activation."""
    sources = [source for source, _ in file.layers[crf].sources] if crf in file.layers else []
    activation = activations_after(file.layers, dense)[:1]
    if sources != [dense] or activation != ["linear"]:
        raise CheckpointError(
            f"{file.path} calls its layer {crf} on {', '.join(sources)}, expected the Dense layer {dense} without an "
            f"activation, found {', '.join(activation) or 'none'}. {_FROM_PYTHON}"
        )


# ---- checks


_FROM_PYTHON = "Export the model from Python, with its own code: export_bundle(model, ...)."


def _stored(file: KerasFile, layer: str, keys: Sequence[str], options: LoadOptions) -> dict[str, Any]:
    """Return the settings of a layer in a whole model, None without it; the user's must not contradict them."""
    config = file.layers[layer].config if layer in file.layers else {}
    stored = {key: config.get(key) for key in keys}
    for key, value in stored.items():
        given = options.init_args.get(key)
        if None not in (given, value) and given != value:
            raise CheckpointError(
                f"{file.path} has {key}={value} in its layer {layer}, --init-args has {key}={given}. Leave it out, to "
                "export what the file has."
            )
    return stored


def _check_task(file: KerasFile, kind: str, task: str, options: LoadOptions) -> None:
    if options.task not in (None, task):
        raise CheckpointError(
            f"{file.path} has a {kind}, whose task is {task}, not {options.task}. Leave the task out, or pass "
            "feature-extraction to export BERT without it."
        )


def _check_place(file: KerasFile, *, first: str, last: str) -> None:
    """Check that the first layer of a head reads BERT's tokens, and that no layer reads the last one."""
    if file.layers and input_of(file.layers, first) != "tokens":
        raise CheckpointError(f"{file.path} calls its layer {first} on other inputs than BERT's tokens. {_FROM_PYTHON}")
    readers = [name for name, layer in file.layers.items() if last in {source for source, _ in layer.sources}]
    if readers:
        raise CheckpointError(
            f"{file.path} has {', '.join(readers)} after {last}, which a bundle would not apply. {_FROM_PYTHON}"
        )


def _unexpected(file: KerasFile, outside: Shapes, expected: str) -> CheckpointError:
    found = ", ".join(f"{name} {list(size)}" for name, size in sorted(outside.items())[:8])
    return CheckpointError(f"{file.path} has other variables after BERT than {expected}: {found}. {_FROM_PYTHON}")
