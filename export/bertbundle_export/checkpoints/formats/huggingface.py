"""Hugging Face directories: config.json, weights (safetensors, TensorFlow h5 or PyTorch pickle), tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.readers.directory_contents import (
    ADAPTER,
    check_adapter,
    check_classifier,
    check_keras_hub,
    missing_weights,
)
from bertbundle_export.checkpoints.readers.sentence_transformers import encoder_directory, read_sentence_transformer
from bertbundle_export.checkpoints.readers.weight_agreement import check_agreement
from bertbundle_export.checkpoints.readers.weight_files import (
    WeightFiles,
    find_weights,
    is_tensorflow,
    read_keras_h5,
    read_pytorch,
    read_safetensors,
    safetensors_header,
    without_wrappers,
)
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import check_config, complete_config, find_architecture
from bertbundle_export.source.settings import check_settings

__all__ = ["FORMAT", "read_config"]

_READERS: Mapping[str, Callable[[tuple[Path, ...]], StateDict]] = {
    "safetensors": read_safetensors,
    "tf_h5": read_keras_h5,
    "pytorch": read_pytorch,
}


class HuggingFaceFormat:
    """See `CheckpointFormat`."""

    name = "huggingface"
    expected = (
        "a directory with config.json and model.safetensors, tf_model.h5 or pytorch_model.bin, or with modules.json of "
        "sentence-transformers"
    )

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        try:
            directory = encoder_directory(path)
            return path.is_dir() and any((directory / name).is_file() for name in ("config.json", ADAPTER))
        except CheckpointError:
            return False

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        directory = encoder_directory(path)
        check_adapter(directory)
        check_classifier(path, options.task)
        config = read_config(directory / "config.json")
        _check_code(directory / "config.json", config, options)
        weights = _weights(directory)
        headers = [safetensors_header(file) for file in weights.files] if weights.kind == "safetensors" else []
        _check_positions(directory, config, is_tensorflow=weights.kind == "tf_h5" or any(map(is_tensorflow, headers)))
        found = read_sentence_transformer(path)
        return Description(
            self.name,
            path,
            weights.kind,
            weights.files,
            config,
            directory,
            pooling=found.pooling,
            dense=found.dense,
            normalize=found.normalize,
            max_length=found.max_length,
            lowercase_texts=found.lowercase,
            prompt=found.prompt,
            notes=_activation(config),
        )

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        if description.kind == "pytorch" and not options.allow_pickle:
            raise CheckpointError(
                f"{description.files[0]} is a PyTorch pickle, which may run code when it is read. Convert it to "
                "model.safetensors, or pass --allow-pickle if you trust it."
            )
        check_agreement(encoder_directory(description.path), WeightFiles(description.kind, description.files))
        weights = _READERS[description.kind](description.files)
        return weights if options.model_class else without_wrappers(weights)


FORMAT = HuggingFaceFormat()


def read_config(path: Path, **defaults: Any) -> dict[str, Any]:
    """Read and check a config.json.

    Args:
        path: the file.
        **defaults: values for keys that it does not have.

    Raises:
        CheckpointError: it is not a configuration, or the model it describes cannot be exported.
    """
    config = _read_json(path, None)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a model's configuration: found {type(config).__name__}.")
    check_keras_hub(path, config)
    config = complete_config(defaults | config)
    check_config(config, path)
    return config


def _check_code(file: Path, config: Mapping[str, Any], options: LoadOptions) -> None:
    """Refuse a model whose weights are changed or whose class is code of its own, unless the user gives the class."""
    check_settings(file, "config.json", config, names=("quantization_config",))
    auto_map = config.get("auto_map") or {}
    if not isinstance(auto_map, dict):
        raise CheckpointError(f"{file} has auto_map {auto_map!r:.80}, expected an object with the classes by name.")
    names = sorted(str(auto_map[key]) for key in auto_map if key.startswith("AutoModel"))
    if names and options.model_class is None:
        raise CheckpointError(
            f"{file} has auto_map {', '.join(names)}, code of its own, which is not run. Pass --model-class with a "
            "Keras class that computes the same, such as transformers:TFBertModel if it adds nothing to BERT."
        )


def _activation(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a note about the activation that CrossEncoder of sentence-transformers applies, if it is stated."""
    stored = config.get("sentence_transformers")
    old = config.get("sbert_ce_default_activation_function")
    name = stored.get("activation_fn", old) if isinstance(stored, dict) else old
    if not name or str(name).endswith(".Identity"):
        return ()
    return (
        f"CrossEncoder of sentence-transformers applies {name} to the logits, the bundle does not: apply it yourself.",
    )


def _check_positions(directory: Path, config: Mapping[str, Any], *, is_tensorflow: bool) -> None:
    """Refuse positions that transformers' TensorFlow and PyTorch classes count from different numbers."""
    architecture = find_architecture(config, directory / "config.json")
    padding = architecture.padding(config)
    if is_tensorflow and architecture.counts_from_padding and padding != architecture.default_padding:
        raise CheckpointError(
            f"{directory / 'config.json'} has pad_token_id {padding}, and the weights are TensorFlow's, whose class "
            f"counts positions from {architecture.default_padding + 1}, and PyTorch's from {padding + 1}: the model "
            "may have been trained with either. Save the weights as PyTorch's model.safetensors if it was trained with "
            "PyTorch; otherwise pass the model from Python: export_bundle(model, ...)."
        )


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error


def _weights(path: Path) -> WeightFiles:
    weights = find_weights(path)
    saved_models = sorted(file.parent for file in path.glob("saved_model/*/saved_model.pb"))
    if weights is None and saved_models:
        raise CheckpointError(
            f"{path} has its weights in a SavedModel only. Export {saved_models[-1]}, with --config {path} and "
            f"--tokenizer {path}."
        )
    if weights is None:
        raise missing_weights(path)
    return weights
