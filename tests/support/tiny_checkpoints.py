"""Write small checkpoints with random weights, in every kind of Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import triton_first  # noqa: F401 - transformers imports torch to name PyTorch's weights
from bertbundle_export.job.texts import PARITY_TEXTS

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
Weights: TypeAlias = dict[str, np.ndarray[Any, Any]]


def vocabulary() -> list[str]:
    """Return a vocabulary of single characters, as whole words and as continuations."""
    chars = sorted({char.lower() for text in PARITY_TEXTS for char in text if not char.isspace()})
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *chars, *(f"##{char}" for char in chars if char.isascii())]


def write_checkpoint(
    path: Path,
    architecture: str = "BertForTokenClassification",
    *,
    labels: Sequence[str] = LABELS,
    **config: Any,
) -> Path:
    """Write a two-layer model with random weights as a Hugging Face directory with tf_model.h5; return its path."""
    import tf_keras

    from bertbundle_export.tensorflow_import import transformers

    tf_keras.utils.set_random_seed(0)
    path.mkdir(parents=True, exist_ok=True)
    model_class = getattr(transformers, f"TF{architecture}")
    vocab_size, special = (_write_bpe if "Roberta" in architecture else _write_wordpiece)(path)
    settings = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "embedding_size": 16,  # ELECTRA and ALBERT
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "hidden_dim": 64,  # DistilBERT's name of intermediate_size
        "max_position_embeddings": 48,
        "initializer_range": 0.5,  # large, so that class scores differ clearly
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        **special,
    }
    model = model_class(model_class.config_class(**{**settings, **config}))
    model.build_in_name_scope()
    model.save_pretrained(str(path))
    change_config(path, architectures=[architecture])
    return path


def _write_wordpiece(path: Path) -> tuple[int, dict[str, int]]:
    (path / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    return len(vocabulary()), {}


def _write_bpe(path: Path) -> tuple[int, dict[str, int]]:
    """Write a tokenizer like RoBERTa's, trained on the parity texts; return its size and special ids."""
    from tokenizers import ByteLevelBPETokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(PARITY_TEXTS, vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.save_model(str(path))
    return tokenizer.get_vocab_size(), {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "type_vocab_size": 1}


def change_config(path: Path, **changes: Any) -> None:
    """Change fields of a config.json; None removes one."""
    file = path / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def pytorch_weights(path: Path) -> Weights:
    """Return the weights of a tf_model.h5 in PyTorch's names and layout."""
    import h5py
    from transformers.modeling_tf_pytorch_utils import convert_tf_weight_name_to_pt_weight_name

    found: Weights = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            # The first part is the layer's group in the file, not part of the variable's name.
            variable = name.split("/", 1)[1]
            renamed, _ = convert_tf_weight_name_to_pt_weight_name(variable, tf_weight_shape=item.shape)
            value = np.asarray(item)
            found[renamed] = np.ascontiguousarray(value.T if variable.endswith("kernel:0") else value)

    with h5py.File(path / "tf_model.h5") as file:
        file.visititems(visit)
    return found


def to_safetensors(path: Path, *, shards: int = 1, dtype: Any = np.float32, rounded_to: Any = np.float32) -> None:
    """Rewrite a checkpoint as PyTorch-style model.safetensors, in one file or several with an index.

    The values are rounded to the dtype `rounded_to` and stored as `dtype`.
    """
    from safetensors.numpy import save_file

    def save(part: Weights, file: Path) -> None:
        stored = {name: value.astype(rounded_to).astype(dtype) for name, value in part.items()}
        save_file(stored, str(file), metadata={"format": "pt"})

    _rewrite(path, "model", "safetensors", shards, save)


def to_pytorch(path: Path, *, shards: int = 1) -> None:
    """Rewrite a checkpoint as pytorch_model.bin, in one file or several with an index. Needs torch."""
    import torch

    def save(part: Weights, file: Path) -> None:
        torch.save({name: torch.from_numpy(value) for name, value in part.items()}, file)

    _rewrite(path, "pytorch_model", "bin", shards, save)


def _rewrite(path: Path, stem: str, suffix: str, shards: int, save: Callable[[Weights, Path], None]) -> None:
    weights = pytorch_weights(path)
    (path / "tf_model.h5").unlink()
    if shards == 1:
        save(weights, path / f"{stem}.{suffix}")
        return
    names = sorted(weights)
    files = {f"{stem}-{index + 1:05}-of-{shards:05}.{suffix}": names[index::shards] for index in range(shards)}
    for file, part in files.items():
        save({name: weights[name] for name in part}, path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}
    (path / f"{stem}.{suffix}.index.json").write_text(json.dumps(index), encoding="utf-8")
