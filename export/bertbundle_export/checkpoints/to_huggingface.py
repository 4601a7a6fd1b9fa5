"""Write a checkpoint of any format as a Hugging Face directory, for use by other programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.models import WordLevel, WordPiece

from bertbundle_export.bundle import staging_directory
from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.checkpoints.loader import class_name, load_checkpoint
from bertbundle_export.checkpoints.readers.sentence_transformers import POOLING_MODES
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.source.architectures import find_architecture
from bertbundle_export.source.japanese import check_no_segmenter
from bertbundle_export.source.model import SourceModel
from bertbundle_export.source.tokenization import is_lowercase
from bertbundle_export.tasks import TASKS
from bertbundle_export.unicode import check_unicode

__all__ = ["write_huggingface"]

_HEAD_BIASES = ("classifier.bias", "classifier.out_proj.bias")


def write_huggingface(source: str | Path, directory: Path, options: LoadOptions) -> Path:
    """Write config.json, model.safetensors (PyTorch's names) and the tokenizer of a checkpoint: all of them or none.

    If pooling and normalization of the sentence embedding are known, they are written as sentence-transformers does.

    Args:
        source: as for `export_bundle`.
        directory: must not exist, or be empty.
        options: `task` and `labels` go to config.json, `pooling` and `normalize` to modules.json.

    Returns:
        The directory.

    Raises:
        CheckpointError: the checkpoint cannot be read, its files contradict each other, the number of its classes
            differs from the number of `labels`, or no class of transformers has its head.
        ExportError: the directory cannot be written.
    """
    check_unicode(directory.absolute(), "the directory", error=ExportError)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ExportError(f"{directory} exists already and is not an empty directory. Choose another.")
    if options.heads:
        raise ExportError(
            "several heads cannot be written as a Hugging Face directory: transformers has no class for them."
        )
    with open_source(source, revision=options.revision) as path, staging_directory(directory.parent) as staging:
        # Loaded for feature extraction, to check only the encoder and the tokenizer: the head may lack what a bundle
        # needs, such as labels.
        loaded = load_checkpoint(path, str(source), dataclasses.replace(options, task="feature-extraction"))
        check_no_segmenter(
            loaded.word_segmenter, "--to-hf", "Copy the files of the tokenizer; use --name for a bundle."
        )
        description = describe_checkpoint(path, options)
        weights = find_format(path, description.format).read(description, options)
        _check_head(description, weights, options)
        target = staging / "huggingface"
        target.mkdir()
        (target / "config.json").write_text(_config(description, options), encoding="utf-8")
        _save_weights(target / "model.safetensors", weights)
        _save_tokenizer(target, loaded, description)
        _save_modules(target, description, options)
        target.rename(directory)
    return directory


def _check_head(description: Description, weights: Mapping[str, Any], options: LoadOptions) -> None:
    if description.build_model is not None:
        pooling = description.init_args.get("pooling")
        reason = (
            f"its Dense layer reads {pooling} of the encoder's output, transformers' class reads the pooler's output"
        )
        reason = reason if pooling else "transformers has no such head"
        raise CheckpointError(
            f"no class of transformers can load {description.path}: {reason}. Pass --task feature-extraction to write "
            "the encoder only, or --name to write a bundle."
        )
    sizes = {name: len(value) for name, value in weights.items() if name in _HEAD_BIASES}
    wrong = {name: size for name, size in sizes.items() if options.labels and size != len(options.labels)}
    for name, size in wrong.items():
        raise CheckpointError(
            f"--labels has {len(options.labels or ())} labels, but {description.path} has {size} classes ({name}). "
            f"Pass {size} labels."
        )


def _save_modules(directory: Path, description: Description, options: LoadOptions) -> None:
    """Write the files of sentence-transformers if the pooling is known: modules, pooling, length and prompt."""
    pooling = options.pooling or description.pooling
    normalize = description.normalize if options.normalize is None else options.normalize
    is_encoder = _class_name(description, options).endswith("Model")
    if (pooling is None and not normalize) or not (is_encoder or description.pooling):
        return
    if pooling == "pooler":
        raise CheckpointError("sentence-transformers has no pooling by BERT's pooler. Pass --pooling cls, mean or max.")
    if description.dense and not options.pooling:
        raise CheckpointError(
            f"{description.path} has a Dense module after the pooling, which --to-hf does not write. Pass "
            "--pooling to leave it out."
        )
    architecture = find_architecture(description.config, description.path)
    modes: dict[str, Any] = {key: name == (pooling or "mean") for key, name in POOLING_MODES.items()}
    modes["word_embedding_dimension"] = architecture.size(description.config, "hidden_size")
    kinds = ("Transformer", "Pooling", "Normalize") if normalize else ("Transformer", "Pooling")
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    for kind in kinds[1:]:
        (directory / f"{kinds.index(kind)}_{kind}").mkdir()
    _write_json(directory / "1_Pooling" / "config.json", modes)
    _write_json(directory / "modules.json", modules)
    if description.max_length is not None:
        _write_json(directory / "sentence_bert_config.json", {"max_seq_length": description.max_length})
    if description.prompt:
        prompts = {"prompts": {"default": description.prompt}, "default_prompt_name": "default"}
        _write_json(directory / "config_sentence_transformers.json", prompts)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _config(description: Description, options: LoadOptions) -> str:
    changed = {key: value for key, value in options.init_args.items() if key in description.config}
    config = {**description.config, **changed}
    config["architectures"] = [_class_name(description, options)]
    if options.labels:
        config["id2label"] = dict(enumerate(options.labels))
        config["label2id"] = {label: index for index, label in enumerate(options.labels)}
    return json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _class_name(description: Description, options: LoadOptions) -> str:
    if options.task is None:
        return class_name(description).removeprefix("TF")
    return find_architecture(description.config, description.path).stem + str(TASKS[options.task].class_suffix)


def _save_weights(file: Path, weights: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, str(file), metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors makes it readable only by the owner


def _save_tokenizer(directory: Path, loaded: SourceModel, description: Description) -> None:
    import transformers

    architecture = find_architecture(description.config, description.path)
    tokenizer = loaded.tokenizer
    if isinstance(tokenizer.model, WordLevel):
        raise CheckpointError(
            f"no class of transformers looks up whole tokens as the tokenizer of {description.path}. Pass --tokenizer, "
            "a directory or vocab.txt for the written model."
        )
    kind = "Bert" if isinstance(tokenizer.model, WordPiece) else architecture.stem
    fast = getattr(transformers, f"{kind}TokenizerFast")(
        tokenizer_object=tokenizer,
        do_lower_case=is_lowercase(tokenizer),
        model_max_length=loaded.stated_length or architecture.size(description.config, "positions"),
    )
    fast.save_pretrained(str(directory))
