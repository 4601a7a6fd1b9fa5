"""Keras models with several heads over one BERT, as users write them, and their results computed without our code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tiny_checkpoints import LABELS, vocabulary

__all__ = [
    "INTENTS",
    "MOODS",
    "OUTPUTS",
    "JointModel",
    "SourceAnswers",
    "activated",
    "functional_model",
    "make_config",
    "softmax",
    "two_texts_model",
    "write_vocabulary",
]

INTENTS = ("greet", "book", "cancel", "thank")
MOODS = ("calm", "happy", "angry")
OUTPUTS = ("slots", "intent", "moods", "urgency")
"""The outputs of the models: labels of tokens, classes of a text, independent classes of a text, and a number."""
_COLUMNS = {"slots": len(LABELS), "intent": len(INTENTS), "moods": len(MOODS), "urgency": 1}


def make_config(**settings: Any) -> Any:
    """Return the configuration of a small BERT over `vocabulary`."""
    from bertbundle_export.tensorflow_import import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    defaults = {"vocab_size": len(vocabulary()), "max_position_embeddings": 48, "initializer_range": 0.5}
    return transformers.BertConfig(**{**sizes, **defaults, **settings})


def write_vocabulary(directory: Path) -> Path:
    """Write a vocab.txt; return its path."""
    path = directory / "vocab.txt"
    path.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    return path


def _dense(name: str, columns: int, **options: Any) -> Any:
    import tf_keras

    return tf_keras.layers.Dense(columns, name=name, kernel_initializer="glorot_normal", **options)


def functional_model(
    outputs: Sequence[str] = OUTPUTS,
    *,
    kind: str = "dict",
    named: bool = True,
    columns: Mapping[str, int] | None = None,
    positions: int = 48,
    **options: Any,
) -> Any:
    """Return a functional model that returns its outputs in a dict or a list; its layers are called as they are.

    Args:
        outputs: the outputs, in order.
        kind: "dict" or "list".
        named: whether the layers of the outputs are called as the outputs.
        columns: number of columns of some outputs, instead of their usual numbers.
        positions: length of the longest text.
        **options: arguments of their Dense layers.
    """
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    tf_keras.utils.set_random_seed(3)
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    config = make_config(max_position_embeddings=positions)
    tokens, pooled = TFBertMainLayer(config, name="bert")(inputs)[:2]
    results = {}
    for index, output in enumerate(outputs):
        size = {**_COLUMNS, **(columns or {})}[output]
        layer = _dense(output if named else f"layer_{chr(97 + index)}", size, **options)
        results[output] = layer(tf_keras.layers.Dropout(0.1)(tokens if output == "slots" else pooled))
    return tf_keras.Model(inputs, results if kind == "dict" else [results[output] for output in outputs])


class JointModel:
    """A subclassed model, made by `build`: two taggers with CRFs of their own, or one, beside an intent."""

    @staticmethod
    def build(*, crfs: Sequence[str] = ("slots",), separator: str = ".", plain: bool = False) -> Any:
        """Return a model that returns a dict with the transitions of each CRF.

        Args:
            crfs: the outputs with a CRF.
            separator: what stands between an output and "transitions" in the names of the tables.
            plain: whether the tables of the CRF are called "transitions" only.
        """
        import tf_keras
        from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

        class Model(tf_keras.Model):  # type: ignore[misc]  # tf_keras has no annotations
            def __init__(self) -> None:
                super().__init__()
                self.bert = TFBertMainLayer(make_config(), name="bert")
                self.slots, self.intent = _dense("s", len(LABELS)), _dense("i", len(INTENTS))
                size, normal = (len(LABELS),) * 2, tf_keras.initializers.RandomNormal(stddev=2.0, seed=5)
                self.tables = {name: self.add_weight(f"{name}_table", size, initializer=normal) for name in crfs}

            def call(self, inputs: Any, training: bool = False) -> Any:
                tokens, pooled = self.bert(inputs, training=training)[:2]
                tables = {("" if plain else f"{name}{separator}") + "transitions": t for name, t in self.tables.items()}
                heads = {name: self.slots(tokens) for name in crfs}
                return {**heads, "intent": self.intent(pooled), **tables}

        tf_keras.utils.set_random_seed(4)
        model = Model()
        ids = np.ones((1, 8), np.int32)
        model({"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids})
        return model


class SourceAnswers:
    """The answers of a functional model, from transformers' slow tokenizer, a forward pass of Keras and numpy."""

    def __init__(self, model: Any, vocabulary_file: Path) -> None:
        import transformers

        self._model = model
        self._tokenizer = transformers.BertTokenizer(str(vocabulary_file), do_lower_case=True)

    def logits(self, text: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs of a model that returns a dict, without the batch axis."""
        import tensorflow as tf

        encoded = self._tokenizer(text)
        inputs = {name: tf.constant([values], tf.int32) for name, values in encoded.items()}
        return {name: np.asarray(value)[0].astype(np.float64) for name, value in self._model(inputs).items()}

    def entities(self, text: str) -> list[tuple[str, str, float]]:
        """Return the label, the text without spaces and the score of each entity, by argmax and the rules of BIO.

        The vocabulary has single characters only, so a token is a character of the text.
        """
        logits = self.logits(text)["slots"][1:-1]
        probabilities = softmax(logits)
        found: list[tuple[str, list[int]]] = []
        characters = [char for char in text if not char.isspace()]
        assert len(characters) == len(logits)
        opened = ""
        for position, label in enumerate(LABELS[index] for index in logits.argmax(-1)):
            role, _, kind = label.partition("-")
            if role == "B" or (role == "I" and kind != opened):
                found.append((kind, [position]))
            elif role == "I":
                found[-1][1].append(position)
            opened = kind
        return [
            (
                kind,
                "".join(characters[position] for position in positions),
                float(probabilities[positions].max(-1).mean()),
            )
            for kind, positions in found
        ]


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def two_texts_model(outputs: Any, names: tuple[str, str]) -> Any:
    """Return a model of one layer with two heads whose shapes are equal, and whose layers have names of their own.

    Args:
        outputs: function of the two outputs that returns what the model returns.
        names: names of the two Dense layers.
    """
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    tf_keras.utils.set_random_seed(8)
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in ("input_ids", "attention_mask")}
    pooled = TFBertMainLayer(make_config(num_hidden_layers=1), name="bert")(inputs)[1]
    return tf_keras.Model(inputs, outputs(*(tf_keras.layers.Dense(3, name=name)(pooled) for name in names)))


def activated(*outputs: Any) -> list[Any]:
    """Return the outputs through layers that are called as the Dense layer of the other output."""
    import tf_keras

    names = [output.node.layer.name for output in outputs]
    return [
        tf_keras.layers.Activation("softmax", name=f"{name}_logits")(output)
        for name, output in zip(reversed(names), outputs, strict=True)
    ]
