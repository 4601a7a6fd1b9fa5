"""Google's original BERT for TensorFlow 1: bert_config.json, bert_model.ckpt.*, vocab.txt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertbundle.contract.labels import detect_scheme
from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.formats._tf1_tagger import TaggerHead, convert_head, find_tagger, tagger
from bertbundle_export.checkpoints.formats.huggingface import read_config
from bertbundle_export.checkpoints.readers.tensor_bundle import TensorBundle, read_index, read_tensors
from bertbundle_export.checkpoints.readers.tf1_names import (
    LAYER,
    check_bert,
    class_of_heads,
    expected_shapes,
    is_weight,
    to_pytorch,
)
from bertbundle_export.checkpoints.readers.weight_files import find_weights, keras_to_pytorch
from bertbundle_export.checkpoints.sources.label_files import find_labels
from bertbundle_export.errors import CheckpointError

__all__ = ["FORMAT"]

_ASSUMPTION = (
    "the checkpoint has no graph (.meta) that shows how its head is computed: it is assumed to be that of "
    "BERT-BiLSTM-CRF-NER, with a tanh after the projection if there is no recurrent layer."
)
_GELU = (
    "the checkpoint has no graph (.meta) that shows how gelu is computed: it is assumed to be exact, as in the code "
    "that Google's models were trained with. Google's later code approximates it by tanh (a difference of up to "
    "0.0005): set hidden_act to gelu_new in bert_config.json if the model was trained with that."
)
_AVERAGES = (
    "the checkpoint also has moving averages of its weights (ExponentialMovingAverage), which are not used. If the "
    "model was evaluated with them, save them as the weights."
)
_SUFFIX = re.compile(r"(?<=.)\.(index|meta|data-\d{5}-of-\d{5})$")


class GoogleFormat:
    """See `CheckpointFormat`."""

    name = "tf1"
    expected = "a directory with bert_config.json, bert_model.ckpt.index and .data-*, and vocab.txt, or their prefix"

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        if path.is_dir():
            return any(path.glob("*.index")) and not _has_huggingface_weights(path)
        return Path(f"{_prefix_of(path)}.index").is_file()

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        prefix = _find_prefix(path)
        bundle = read_index(prefix)
        check_bert(bundle.entries, prefix)
        file = _find_config(prefix.parent, options)
        config = read_config(file, model_type="bert", intermediate_size=3072, type_vocab_size=2)
        _check_shapes(bundle, config, file)
        config["architectures"] = [class_of_heads(bundle.entries)]
        head = None if options.model_class or options.task == "feature-extraction" else _find_tagger(bundle)
        for name in ("output_bias", "loss/output_bias"):
            if name in bundle.entries:
                config["num_labels"] = bundle.entries[name].shape[0]
                if head is None:
                    _check_head(prefix, config["num_labels"], options)
        notes = _follow_gelu(config, _read_graph(bundle))
        if any(name.endswith("/ExponentialMovingAverage") for name in bundle.entries):
            notes += (_AVERAGES,)
        vocab = _vocab(prefix.parent)
        description = Description(self.name, path, "TensorFlow 1 checkpoint", bundle.files, config, vocab, notes=notes)
        return description if head is None else _describe_tagger(description, config, head, options)

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        del options
        bundle = read_index(_find_prefix(description.path))
        values = read_tensors(bundle, [name for name, entry in bundle.entries.items() if is_weight(name, entry)])
        if description.build_model is not tagger:
            return dict(to_pytorch(name, value) for name, value in values.items())
        encoder = {name: value for name, value in values.items() if name.startswith("bert/")}
        rest = {name: value for name, value in values.items() if name not in encoder}
        converted = convert_head(rest, description.init_args["head"])
        return dict(to_pytorch(name, value) for name, value in encoder.items()) | dict(
            keras_to_pytorch(f"model/{name}", value) for name, value in converted.items()
        )


FORMAT = GoogleFormat()


def _check_head(prefix: Path, columns: int, options: LoadOptions) -> None:
    """Check the user's labels for a head whose weights have the same names for a text and for each token."""
    if not options.labels or options.model_class or options.task == "feature-extraction":
        return
    if len(options.labels) != columns:
        raise CheckpointError(
            f"{prefix} has {columns} classes, --labels has {len(options.labels)}: {', '.join(options.labels)}. Pass "
            "all of them, in the order of get_labels() of the training script."
        )
    if options.task is None and detect_scheme(options.labels) not in ("none", "IO"):
        raise CheckpointError(
            f"{prefix} has output_weights, which a text classifier and a tagger both have, and --labels are those of a "
            "tagger. Pass --task token-classification, or --task text-classification."
        )


def _read_graph(bundle: TensorBundle) -> bytes:
    meta = Path(f"{bundle.prefix}.meta")
    return meta.read_bytes() if meta.is_file() else b""


def _follow_gelu(config: dict[str, Any], graph: bytes) -> tuple[str, ...]:
    """Set how gelu is computed, which is in the graph and not in bert_config.json; return notes for the user.

    Source: google-research/bert, modeling.py: `gelu` had tf.erf until 2019, and a power and tf.tanh since then.
    """
    if config.get("hidden_act", "gelu") != "gelu":
        return ()
    if b"intermediate/dense/Pow" in graph:
        config["hidden_act"] = "gelu_new"
    return () if b"intermediate/dense/" in graph else (_GELU,)


def _find_tagger(bundle: TensorBundle) -> TaggerHead | None:
    shapes = {name: entry.shape for name, entry in bundle.entries.items() if is_weight(name, entry)}
    return find_tagger(shapes, _read_graph(bundle))


def _describe_tagger(
    description: Description, config: dict[str, Any], head: TaggerHead, options: LoadOptions
) -> Description:
    """Complete a description, and its configuration in place, by the facts about a tagger's head."""
    config["architectures"] = ["BertForTokenClassification"]
    config["num_labels"] = head.labels
    directory = _find_prefix(description.path).parent
    if labels := find_labels(directory, head.labels, options):
        config["id2label"] = dict(enumerate(labels))
    notes = (_ASSUMPTION,) if head.is_assumed else ()
    return replace(description, build_model=tagger, init_args={"head": head}, notes=description.notes + notes)


def _has_huggingface_weights(path: Path) -> bool:
    try:
        return (path / "config.json").is_file() and find_weights(path) is not None
    except CheckpointError:
        return True


def _prefix_of(path: Path) -> Path:
    """Return the prefix of a checkpoint, given the path of one of its files or the prefix itself."""
    return path.with_name(_SUFFIX.sub("", path.name))


def _find_prefix(path: Path) -> Path:
    """Return the prefix of the checkpoint at a path; if there are several, the one named in the file `checkpoint`."""
    if not path.is_dir():
        return _prefix_of(path)
    prefixes = sorted(_prefix_of(item) for item in path.glob("*.index"))
    if len(prefixes) > 1:
        latest = re.search(r'^model_checkpoint_path: "(.*)"', _read_text(path / "checkpoint"), re.MULTILINE)
        prefixes = [prefix for prefix in prefixes if latest and prefix.name == Path(latest[1]).name] or prefixes
    if len(prefixes) != 1:
        names = ", ".join(prefix.name for prefix in prefixes) or "none"
        raise CheckpointError(
            f"{path} must have one TensorFlow checkpoint, found {names}. Give one of them: {path}/PREFIX."
        )
    return prefixes[0]


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _find_config(directory: Path, options: LoadOptions) -> Path:
    parent = options.config or directory
    # The pattern is for names such as bert_config_large.json.
    files = [parent / "bert_config.json", parent / "config.json", *sorted(parent.glob("bert_config*.json"))]
    found = [file for file in (parent, *files) if file.is_file()]
    if not found:
        raise CheckpointError(
            f"{parent} has no bert_config.json. Pass --config, the bert_config.json of the model that the checkpoint "
            "was trained from."
        )
    return found[0]


def _vocab(directory: Path) -> Path | None:
    if any((directory / name).is_file() for name in ("vocab.txt", "tokenizer.json")):
        return directory
    found = sorted(directory.glob("*vocab*.txt"))
    return found[0] if len(found) == 1 else None


def _check_shapes(bundle: TensorBundle, config: Mapping[str, Any], file: Path) -> None:
    """Check the shapes of a checkpoint's encoder against its configuration."""
    found = {name: entry.shape for name, entry in bundle.entries.items()}
    layers = 1 + max(int(match[1]) for match in map(LAYER.match, found) if match)
    if layers != config["num_hidden_layers"]:
        raise CheckpointError(
            f"{bundle.prefix} has {layers} layers, {file} says num_hidden_layers {config['num_hidden_layers']}."
        )
    for name, shape in expected_shapes(config).items():
        if name in found and found[name] != shape:
            raise CheckpointError(
                f"{bundle.prefix} has {name} of shape {list(found[name])}, expected {list(shape)} by {file}. Use the "
                "bert_config.json that belongs to the checkpoint."
            )
