"""SavedModels that are not bundles, as saved by tf.Module, Keras and old TensorFlow 1 code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SAVERS"]

_SHAPES: dict[str, list[int | None] | None] = {"x": [None, 2], "a": [], "b": None}


def save_module(tf: Any, path: Path) -> None:
    """Save a tf.Module with several signatures: numbers, strings, a scalar input, an unknown rank."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in _SHAPES.items()}
    text = tf.TensorSpec([None], tf.string, name="text")
    functions = {
        "serving_default": tf.function(lambda x: {"y": x * 2}, input_signature=[specs["x"]]),
        "upper": tf.function(lambda text: {"upper": tf.strings.upper(text), "raw_bytes": text}, input_signature=[text]),
        "scale": tf.function(lambda a, b: {"scaled": a * b}, input_signature=[specs["a"], specs["b"]]),
    }
    module = tf.Module()
    module.functions = functions
    tf.saved_model.save(module, str(path), signatures=functions)
    add_default(path)


def add_default(path: Path) -> None:
    """Set the default value of the input `a` of the signature `scale` to 3."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import tensor_util

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    scale = saved.meta_graphs[0].signature_def["scale"]
    scale.defaults["a"].CopyFrom(tensor_util.make_tensor_proto(np.float32(3)))
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())


def save_keras(tf: Any, path: Path) -> None:
    """Export a Keras model with its own `export` method."""
    import keras

    layers = [keras.Input((3,), name="features"), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.Sequential(layers).export(str(path), verbose=False)
    del tf


def save_examples(tf: Any, path: Path) -> None:
    """Save classify and regress signatures over tf.Examples with the feature x, as TensorFlow 1 code does."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        x = v1.io.parse_example(examples, {"x": v1.io.FixedLenFeature([], tf.float32)})["x"]
        scores = tf.stack([x, 1 - x], axis=1)
        classes = tf.tile([["yes", "no"]], [tf.shape(x)[0], 1])
        utils = v1.saved_model.signature_def_utils
        signatures = {
            "serving_default": utils.classification_signature_def(examples, classes, scores),
            "regress": utils.regression_signature_def(examples, x * 10),
            "predict": utils.predict_signature_def({"examples": examples}, {"x": x}),
        }
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder.save()


def save_native(tf: Any, path: Path) -> None:
    """Save a classification signature as TensorFlow 2 does: with the method name of Predict."""

    def classify(inputs: Any) -> Any:
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        return {"scores": tf.stack([x, 1 - x], axis=1)}

    module = tf.Module()
    module.classify = tf.function(classify, input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.classify})


SAVERS = {"module": save_module, "keras": save_keras, "examples": save_examples, "native": save_native}
