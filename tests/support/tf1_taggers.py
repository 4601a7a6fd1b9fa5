"""Write TensorFlow 1 checkpoints of taggers with TensorFlow 1's own cells, variables and saver, and run their graph.

Source of names and computation: macanv/BERT-BiLSTM-CRF-NER, bert_base/train/lstm_crf_layer.py.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from google_checkpoints import encode
from tiny_checkpoints import Weights

Inputs = Mapping[str, np.ndarray[Any, Any]]


def write_tagger(
    path: Path,
    weights: Weights,
    config: Mapping[str, Any],
    vocab: Sequence[str],
    inputs: Inputs,
    *,
    labels: int,
    cell: str | None = None,
    masked: bool = False,
    crf: bool = True,
    tanh: bool = False,
    meta: bool = True,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Write a checkpoint, and return the graph's logits ``[texts, tokens, labels]`` and its transitions.

    Args:
        path: the directory, which is created.
        weights: the encoder's, with Google's names.
        config: sizes as in bert_config.json.
        vocab: the lines of vocab.txt.
        inputs: BERT's three inputs by name.
        labels: number of labels.
        cell: "LSTMCell", "BasicLSTMCell" or "GRUCell"; None without a recurrent layer.
        masked: whether the recurrent layer stops at the end of each text.
        crf: whether there is a CRF.
        tanh: whether the logits are the hyperbolic tangent of the projection.
        meta: whether the graph is saved, too.
    """
    from bertbundle_export.tensorflow_import import tf

    path.mkdir(parents=True)
    (path / "bert_config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    (path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    tf1 = tf.compat.v1
    tf1.disable_resource_variables()
    try:
        with tf.Graph().as_default(), tf1.Session() as session:
            tf1.set_random_seed(0)
            features = encode(
                lambda name: tf1.get_variable(name, initializer=weights[name]),
                *(tf.constant(value) for value in inputs.values()),
                config=config,
                approximate=False,
            )[1][-1]
            if cell is not None:
                lengths = inputs["attention_mask"].sum(axis=1) if masked else None
                features = _hidden(_recurrent(features, cell, lengths))
            logits = _project(features, "logits", labels, tanh=tanh)
            transitions = _transitions(labels) if crf else tf.zeros((labels, labels))
            session.run(tf1.global_variables_initializer())
            tf1.train.Saver().save(session, str(path / "model.ckpt-100"), write_meta_graph=meta)
            return tuple(session.run([logits, transitions]))
    finally:
        tf1.enable_resource_variables()


def _recurrent(features: Any, cell: str, lengths: Any) -> Any:
    from tf_keras.src.layers.rnn import legacy_cells

    from bertbundle_export.tensorflow_import import tf

    with tf.compat.v1.variable_scope("rnn_layer"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the cells are deprecated
            forward, backward = (getattr(legacy_cells, cell)(UNITS) for _ in range(2))
        outputs, _ = tf.compat.v1.nn.bidirectional_dynamic_rnn(
            forward, backward, features, sequence_length=lengths, dtype=tf.float32
        )
    return tf.concat(outputs, axis=2)


UNITS = 6
"""Number of units of each direction of a recurrent layer."""


def _hidden(features: Any) -> Any:
    return _project(features, "hidden", UNITS)


def _project(features: Any, scope: str, size: int, *, tanh: bool = False) -> Any:
    from bertbundle_export.tensorflow_import import tf

    tf1 = tf.compat.v1
    with tf1.variable_scope("project"), tf1.variable_scope(scope):
        width = features.shape[-1]
        initializer = tf1.random_normal_initializer(stddev=0.5)
        weight = tf1.get_variable("W", shape=[width, size], initializer=initializer)
        bias = tf1.get_variable("b", shape=[size], initializer=initializer)
        projected = tf1.nn.xw_plus_b(tf.reshape(features, [-1, width]), weight, bias)
        projected = tf.tanh(projected) if tanh else projected
    return tf.reshape(projected, [-1, features.shape[1], size])


def _transitions(labels: int) -> Any:
    from bertbundle_export.tensorflow_import import tf

    tf1 = tf.compat.v1
    with tf1.variable_scope("crf_loss"):
        return tf1.get_variable("transitions", shape=[labels, labels], initializer=tf1.random_normal_initializer())


def viterbi(logits: np.ndarray[Any, Any], transitions: np.ndarray[Any, Any], length: int) -> list[int]:
    """Return the best path of a CRF over the first tokens of a text, by trying each label after each."""
    best, back = logits[0], []
    for row in logits[1:length]:
        scores = best[:, None] + transitions
        back.append(scores.argmax(axis=0))
        best = scores.max(axis=0) + row
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]
