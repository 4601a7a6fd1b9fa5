"""Files of a Hugging Face directory that its weights are useless without, or that stand in the place of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.tokenizer_settings import read_object

__all__ = ["ADAPTER", "check_adapter", "check_classifier", "check_keras_hub", "missing_weights"]

ADAPTER = "adapter_config.json"
"""The settings of a PEFT adapter, such as LoRA's."""
_SETFIT_HEAD = "model_head.pkl"
# Patterns of other weight files, and what can be done with them.
_ADVICE: Mapping[str, str] = {
    "*.msgpack": "Weights of Flax must be converted: in transformers, AutoModel.from_pretrained(..., from_flax=True) "
    "and save_pretrained",
    "*.onnx": "A bundle cannot be made from ONNX files: give the checkpoint that they were made from",
    "onnx/*.onnx": "A bundle cannot be made from ONNX files: give the checkpoint that they were made from",
    "*.gguf": "A bundle cannot be made from GGUF files: give the checkpoint that they were made from",
    "*.safetensors": "If it has all weights, rename it to model.safetensors",
    "*.bin": "If it has all weights, rename it to pytorch_model.bin",
    "*.pt": "If it is a state dict, rename it to pytorch_model.bin",
    "*.pth": "If it is a state dict, rename it to pytorch_model.bin",
    "*.ckpt": "Save its state dict as pytorch_model.bin",
}


def check_adapter(directory: Path) -> None:
    """Refuse a PEFT adapter, with or without weights beside it: transformers would change the base model by it.

    Raises:
        CheckpointError: the directory has one.
    """
    file = directory / ADAPTER
    if file.is_file():
        settings = read_object(file)
        raise CheckpointError(
            f"{directory} has {ADAPTER}: its weights are a PEFT adapter ({settings.get('peft_type', 'unknown')}) "
            f"of the model {settings.get('base_model_name_or_path')!r}, which is not supported. Merge them with peft "
            "(merge_and_unload), save the merged model, and export that."
        )


def check_classifier(path: Path, task: str | None) -> None:
    """Refuse a SetFit model whose classifier would be dropped, unless the user asks for a task.

    Raises:
        CheckpointError: the directory has a classifier, and `task` is None.
    """
    if task is None and (path / _SETFIT_HEAD).is_file():
        raise CheckpointError(
            f"{path} has {_SETFIT_HEAD}, the classifier of SetFit, which is not supported. Pass --task "
            "feature-extraction to export its sentence embeddings without it."
        )


def check_keras_hub(file: Path, config: Mapping[str, Any]) -> None:
    """Refuse the config.json of a keras-hub preset, which has other keys and belongs to other weights.

    Raises:
        CheckpointError: it is one.
    """
    if "model_type" not in config and {"class_name", "config"} <= config.keys():
        raise CheckpointError(
            f"{file.parent} is a preset of keras-hub with a {config['class_name']}, which is not supported. Load it "
            "with keras-hub's from_preset, save the model as model.keras, and export that with --tokenizer and its "
            "vocabulary."
        )


def missing_weights(path: Path) -> CheckpointError:
    """Return the error for a directory without the weight files that transformers looks for."""
    pattern, file = next(((pattern, file) for pattern in _ADVICE for file in sorted(path.glob(pattern))), (None, None))
    found = f", found {file.relative_to(path)}. {_ADVICE[pattern]}" if pattern and file else ", or an index of shards"
    return CheckpointError(
        f"{path} has config.json but no weights: expected model.safetensors, tf_model.h5 or pytorch_model.bin{found}."
    )
