"""Hugging Face directories: config.json, weights (safetensors, TensorFlow h5 or PyTorch pickle), tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertbundle.errors import CheckpointError
from bertbundle.manifest import Source
from bertbundle_export import tokenization
from bertbundle_export.checkpoints.weights import (
    WeightFiles,
    find_weights,
    read_pytorch,
    read_safetensors,
    safetensors_header,
)
from bertbundle_export.model import SourceModel, bert_inputs, choose_labels, count_parameters, multi_label
from bertbundle_export.tasks import TASKS, check_task

if TYPE_CHECKING:
    from bertbundle_export.checkpoints import LoadOptions

__all__ = ["HuggingFace"]

# The task that an architecture was trained for. A masked language model is asked for its features only on request.
_TASK_OF = {
    "BertForTokenClassification": "token-classification",
    "BertForSequenceClassification": "text-classification",
    "BertModel": "feature-extraction",
}
# Settings that TFBertModel does not follow: it would load, run, and answer something else.
_KNOWN_SETTINGS: Mapping[str, tuple[Any, Any]] = {
    "position_embedding_type": ("absolute", "absolute"),
    "is_decoder": (False, False),
    "add_cross_attention": (False, False),
}
_READERS = {"safetensors": read_safetensors, "pytorch": read_pytorch}
# What may be left over: non-weights that old PyTorch checkpoints carry, heads of pre-training, and the pooler, which
# token classification has no use for.
_EXPECTED_EXTRA = re.compile(r"position_ids$|^cls\b|^(nsp|mlm)__|seq_relationship|predictions|pooler|^dropout")
_ENCODER = re.compile(r"\b(embeddings|encoder)\b")


class HuggingFace:
    """See `CheckpointFormat`."""

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        return path.is_dir() and (path / "config.json").is_file()

    def inspect(self, path: Path) -> dict[str, Any]:
        """See `CheckpointFormat.inspect`."""
        config = _read_config(path)
        weights = _weights(path)
        return {
            "format": "huggingface",
            "weights": f"{weights.kind}: {', '.join(file.name for file in weights.files)}",
            "bytes": sum(file.stat().st_size for file in weights.files),
            "architecture": _architecture(config),
            "task": _TASK_OF.get(_architecture(config).removeprefix("TF"), "not known: pass --task"),
            "layers": config.get("num_hidden_layers"),
            "hidden_size": config.get("hidden_size"),
            "vocab_size": config.get("vocab_size"),
            "max_positions": config.get("max_position_embeddings"),
            "lowercase": tokenization.is_lowercase(tokenization.load_tokenizer(path)),
            "labels": ", ".join(_stored_labels(config)) or "none",
        }

    def load(self, path: Path, name: str, options: LoadOptions) -> SourceModel:
        """See `CheckpointFormat.load`."""
        config = _read_config(path)
        task = options.task or _find_task(config, path)
        check_task(task)
        labels = choose_labels(options.labels or _stored_labels(config), task) if TASKS[task].has_labels else ()
        _load_quietly()
        tokenizer = tokenization.load_tokenizer(options.tokenizer or path, lowercase=options.lowercase)
        tokenization.check_tokenizer(tokenizer, config["vocab_size"])
        pooling, normalized = _pooling(path, options) if task == "feature-extraction" else ("none", False)
        model = _load_model(path, task, len(labels))
        return SourceModel(
            keras=model,
            task=task,
            tokenizer=tokenizer,
            source=_source(name, config, model),
            inputs=bert_inputs(
                vocab_size=config["vocab_size"],
                type_vocab_size=config.get("type_vocab_size", 2),
                pad_id=config.get("pad_token_id") or 0,
            ),
            max_positions=config["max_position_embeddings"],
            labels=labels,
            multi_label=multi_label(config.get("problem_type"), options.multi_label),
            pooling=pooling,
            normalized=normalized,
        )


def _load_quietly() -> None:
    """Load TensorFlow before transformers: after it, and after torch, TensorFlow's C++ side does not keep quiet."""
    import bertbundle_export.quiet  # noqa: F401


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path / 'config.json'} is not JSON: {error}.") from error
    kind = config.get("model_type", "not stated") if isinstance(config, dict) else "not an object"
    if kind != "bert":
        raise CheckpointError(f"{path / 'config.json'} has model_type {kind!r}, expected 'bert'.")
    needed = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    missing = [key for key in needed if not isinstance(config.get(key), int)]
    if missing:
        raise CheckpointError(f"{path / 'config.json'} has no number for {', '.join(missing)}.")
    for key, (known, default) in _KNOWN_SETTINGS.items():
        if config.get(key, default) != known:
            raise CheckpointError(
                f"{path / 'config.json'} has {key} {config[key]!r}, which transformers' TensorFlow BERT ignores or "
                f"computes otherwise; only {known!r} can be exported."
            )
    return config


def _architecture(config: Mapping[str, Any]) -> str:
    stated = config.get("architectures") or []
    return stated if isinstance(stated, str) else str(next(iter(stated), "not stated"))


def _find_task(config: Mapping[str, Any], path: Path) -> str:
    architecture = _architecture(config).removeprefix("TF")
    if architecture not in _TASK_OF:
        raise CheckpointError(
            f"{path} has architecture {architecture}, which names no task. Pass --task, one of {', '.join(TASKS)}."
        )
    return _TASK_OF[architecture]


def _stored_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    stored = config.get("id2label") or {}
    try:
        by_index = {int(index): str(label) for index, label in stored.items()}
        return tuple(by_index[index] for index in range(len(by_index)))
    except (AttributeError, KeyError, ValueError) as error:
        raise CheckpointError(f"config.json has an id2label that is not numbered 0 to n-1: {stored}.") from error


def _pooling(path: Path, options: LoadOptions) -> tuple[str, bool]:
    """Return pooling and normalisation as sentence-transformers stored them, unless the user says otherwise."""
    modules = _read_json(path / "modules.json", [])
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    pooling = options.pooling or _stored_pooling(path, [kind for kind in kinds if kind not in _MODULES])
    normalize = "Normalize" in kinds if options.normalize is None else options.normalize
    return pooling, normalize


_MODULES = ("Transformer", "Pooling", "Normalize")
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def _stored_pooling(path: Path, other_modules: list[str]) -> str:
    stored = _read_json(path / "1_Pooling" / "config.json", {})
    modes = [key for key, value in stored.items() if key.startswith("pooling_mode_") and value is True]
    if other_modules or len(modes) > 1 or (modes and modes[0] not in _POOLINGS):
        raise CheckpointError(
            f"{path} makes its sentence embedding by {', '.join(other_modules or modes)}, which is not known here. "
            "Pass --pooling mean or --pooling cls if that will do."
        )
    return _POOLINGS[modes[0]] if modes else "mean"


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error


def _weights(path: Path) -> WeightFiles:
    weights = find_weights(path)
    if weights is None:
        raise CheckpointError(
            f"{path} has config.json but no weights: expected model.safetensors, tf_model.h5 or pytorch_model.bin, "
            "or an index of shards."
        )
    return weights


def _load_model(path: Path, task: str, labels: int) -> Any:
    from bertbundle_export.quiet import transformers

    weights = _weights(path)
    options = {"num_labels": labels} if labels else {}
    bert_config = transformers.BertConfig.from_pretrained(str(path), local_files_only=True, **options)
    model_class = getattr(transformers, TASKS[task].keras_class)
    load = _load_native if _is_native(weights) else _load_renamed
    model, info = load(path, weights, bert_config, model_class)
    missing = info["missing_keys"]
    if task == "feature-extraction" and missing and all("pooler" in str(key) for key in missing):
        model, info = load(path, weights, bert_config, model_class, add_pooling_layer=False)
    _check_loaded(path, info, bert_config, task)
    return model


def _is_native(weights: WeightFiles) -> bool:
    """Return whether transformers' TensorFlow classes read the files themselves."""
    if weights.kind != "safetensors":
        return weights.kind == "tf_h5"
    return bool(safetensors_header(weights.files[0]).get("__metadata__", {}).get("format") == "tf")


def _load_native(
    path: Path, weights: WeightFiles, config: Any, model_class: Any, **options: Any
) -> tuple[Any, dict[str, Any]]:
    try:
        model, info = model_class.from_pretrained(
            str(path),
            config=config,
            local_files_only=True,
            use_safetensors=weights.kind == "safetensors",
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{', '.join(map(str, weights.files))} cannot be loaded: {error}.") from error
    return model, info


def _load_renamed(
    path: Path, weights: WeightFiles, config: Any, model_class: Any, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Load PyTorch's names into a TensorFlow model without torch.

    transformers' own way fails on safetensors: https://github.com/huggingface/transformers/issues/40028
    """
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    try:
        model = model_class(config, **options)
        model.build_in_name_scope()
        return load_pytorch_state_dict_in_tf2_model(  # type: ignore[no-any-return]
            model,
            _READERS[weights.kind](weights.files),
            tf_inputs=False,
            allow_missing_keys=True,
            output_loading_info=True,
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: the weights do not fit config.json: {error}.") from error


def _check_loaded(path: Path, info: Mapping[str, Any], config: Any, task: str) -> None:
    """Refuse a model of which a part kept its random initial values, or that leaves weights of the checkpoint out."""
    mismatched = [str(item) for item in info.get("mismatched_keys") or []]
    missing = [str(key) for key in info["missing_keys"]]
    extra = [str(key) for key in info["unexpected_keys"] if not _may_be_left_out(str(key), task)]
    found = {
        "no weights for {} of the model": missing,
        "other shapes for {}": mismatched,
        "weights that the model has no place for: {}": extra,
    }
    wrong = [text.format(_some(names)) for text, names in found.items() if names]
    if wrong:
        raise CheckpointError(
            f"{path} ({', '.join(config.architectures or ['no architecture stated'])}) has {'; '.join(wrong)}. Check "
            "--task and --labels against what the checkpoint was trained for; a head of your own exports as a live "
            "model, from Python."
        )


def _may_be_left_out(name: str, task: str) -> bool:
    if _EXPECTED_EXTRA.search(name):
        return True
    # The encoder is all that features are made of: any head may stay behind.
    return task == "feature-extraction" and not _ENCODER.search(name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _source(name: str, config: Mapping[str, Any], model: Any) -> Source:
    return Source(
        format="huggingface",
        name=name,
        architecture=_architecture(config),
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        vocab_size=config["vocab_size"],
        parameters=count_parameters(model),
    )
