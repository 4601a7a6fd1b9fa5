"""Write a checkpoint of any format as a Hugging Face directory, so that it is of use elsewhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.models import WordPiece

from bertbundle_export.bundle import staging_directory
from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.checkpoints.formats.huggingface import POOLING_MODES
from bertbundle_export.checkpoints.loader import architecture, load_checkpoint
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.source.architectures import find_encoder
from bertbundle_export.source.tokenization import is_lowercase
from bertbundle_export.tasks import TASKS

__all__ = ["write_huggingface"]

_HEAD_BIASES = ("classifier.bias", "classifier.out_proj.bias")


def write_huggingface(source: str | Path, directory: Path, options: LoadOptions) -> Path:
    """Write config.json, model.safetensors (PyTorch's names) and the tokenizer of a checkpoint; all of it, or nothing.

    A sentence embedding's pooling and normalisation are written as sentence-transformers does, if they are known.

    Args:
        source: as for `export_bundle`.
        directory: where to; must not be there yet, or be empty.
        options: `task` and `labels` go to config.json, `pooling` and `normalize` to modules.json.

    Returns:
        The directory.

    Raises:
        CheckpointError: the checkpoint cannot be read, does not hold together, has another number of classes than
            `labels`, or has a head that no class of transformers reads.
        ExportError: the directory cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ExportError(f"{directory} is there already, and not an empty directory. Choose another.")
    with open_source(source, revision=options.revision) as path, staging_directory(directory.parent) as staging:
        # As features, for any head may be missing what a bundle of it needs: this proves the encoder and the tokenizer.
        proved = load_checkpoint(path, str(source), dataclasses.replace(options, task="feature-extraction"))
        description = describe_checkpoint(path, options)
        weights = find_format(path, description.format).read(description, options)
        _check_head(description, weights, options)
        made = staging / "huggingface"
        made.mkdir()
        (made / "config.json").write_text(_config(description, options), encoding="utf-8")
        _save_weights(made / "model.safetensors", weights)
        _save_tokenizer(made, proved.tokenizer, description)
        _save_modules(made, description, options)
        made.rename(directory)
    return directory


def _check_head(description: Description, weights: Mapping[str, Any], options: LoadOptions) -> None:
    if description.model_class is not None:
        how = description.init_args.get("pooling", "a layer of its own")
        raise CheckpointError(
            f"no class of transformers reads {description.path}: its Dense layer takes {how} of the encoder's output, "
            "and transformers' the pooler's. --task feature-extraction writes the encoder; --name writes a bundle."
        )
    sizes = {name: len(value) for name, value in weights.items() if name in _HEAD_BIASES}
    wrong = {name: size for name, size in sizes.items() if options.labels and size != len(options.labels)}
    for name, size in wrong.items():
        raise CheckpointError(
            f"--labels has {len(options.labels or ())}, {description.path} has {size} classes ({name}). Pass {size}."
        )


def _save_modules(directory: Path, description: Description, options: LoadOptions) -> None:
    """Write sentence-transformers' modules.json and 1_Pooling/config.json, if a pooling is known."""
    pooling = options.pooling or description.pooling
    normalize = description.normalize if options.normalize is None else options.normalize
    is_encoder = _architecture(description, options).endswith("Model")
    if (pooling is None and not normalize) or not (is_encoder or description.pooling):
        return
    if pooling == "pooler":
        raise CheckpointError("sentence-transformers has no pooling by BERT's pooler. Pass --pooling cls, mean or max.")
    encoder = find_encoder(description.config, description.path)
    modes: dict[str, Any] = {key: name == (pooling or "mean") for key, name in POOLING_MODES.items()}
    modes["word_embedding_dimension"] = encoder.size(description.config, "hidden_size")
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
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(modes, indent=2) + "\n", encoding="utf-8")
    (directory / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")


def _config(description: Description, options: LoadOptions) -> str:
    given = {key: value for key, value in options.init_args.items() if key in description.config}
    config = {**description.config, **given}
    config["architectures"] = [_architecture(description, options)]
    if options.labels:
        config["id2label"] = dict(enumerate(options.labels))
        config["label2id"] = {label: index for index, label in enumerate(options.labels)}
    return json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _architecture(description: Description, options: LoadOptions) -> str:
    if options.task is None:
        return architecture(description).removeprefix("TF")
    return find_encoder(description.config, description.path).stem + str(TASKS[options.task].head)


def _save_weights(file: Path, weights: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, str(file), metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors writes for the owner alone


def _save_tokenizer(directory: Path, tokenizer: tokenizers.Tokenizer, description: Description) -> None:
    import transformers

    encoder = find_encoder(description.config, description.path)
    kind = "Bert" if isinstance(tokenizer.model, WordPiece) else encoder.stem
    fast = getattr(transformers, f"{kind}TokenizerFast")(
        tokenizer_object=tokenizer,
        do_lower_case=is_lowercase(tokenizer),
        model_max_length=encoder.size(description.config, "positions"),
    )
    fast.save_pretrained(str(directory))
