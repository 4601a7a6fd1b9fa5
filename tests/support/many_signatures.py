"""A SavedModel with many signatures: every dtype, ranks from 0 to unknown, strings, defaults, tf.Examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["DTYPES", "EXAMPLE_SIGNATURES", "SIGNATURES", "save_many_signatures"]

DTYPES = {
    "u8": "uint8",
    "i8": "int8",
    "i16": "int16",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "i32": "int32",
    "i64": "int64",
    "bl": "bool",
    "f16": "float16",
    "bf": "bfloat16",
    "f32": "float32",
    "f64": "float64",
    "c64": "complex64",
    "c128": "complex128",
    "st": "string",
}
"""Signatures ``t_<key>`` return their input x, of this dtype and declared as a vector, as y."""

_Spec = tuple[list[int | None] | None, str]
_VECTOR: list[int | None] = [None]

# Inputs by name, as shape and dtype, of each signature that is not over tf.Examples.
SIGNATURES: dict[str, dict[str, _Spec]] = {
    "serving_default": {"x": (_VECTOR, "float32")},
    "two": {"a": ([None, 2], "int32"), "b": (_VECTOR, "int64")},
    "text": {"s": (_VECTOR, "string")},
    "scalar": {"x": ([], "float32")},
    "anyrank": {"x": (None, "float32")},
    "anyint": {"x": (None, "int32")},
    "anystr": {"x": (None, "string")},
    "fixed": {"x": ([1, 3], "float32")},
    "column": {"x": ([None, 1], "float32")},
    "idiv": {"x": (_VECTOR, "int32")},
    "noinput": {},
    "mixed": {"x": (_VECTOR, "float32")},
    "defaults": {"x": (_VECTOR, "float32"), "w": (_VECTOR, "float32")},
    "to_complex": {"x": (_VECTOR, "float32")},
    **{f"t_{name}": {"x": (_VECTOR, dtype)} for name, dtype in DTYPES.items()},
}

EXAMPLE_SIGNATURES = (
    "regress",
    "regress_flat",
    "regress_two",
    "classify",
    "classify_scores",
    "classify_classes",
    "classify_mismatch",
    "classify_flat",
)


def save_many_signatures(tf: Any, path: Path) -> None:
    """Save the model, as TensorFlow 2 does: the method name of every signature is that of Predict."""
    functions = _tensor_functions(tf) | {name: _example_function(tf, name) for name in EXAMPLE_SIGNATURES}
    module = tf.Module()
    module.functions = functions
    tf.saved_model.save(module, str(path), signatures=functions)
    _add_default(tf, path)


def _tensor_functions(tf: Any) -> dict[str, Any]:
    compute: dict[str, Callable[..., dict[str, Any]]] = {
        "serving_default": lambda x: {"y": 0.5 * x + 2.0},
        "two": lambda a, b: {"s": tf.cast(tf.reduce_sum(a, 1), tf.int64) + b, "t": a * 2},
        "text": lambda s: {"o": tf.identity(s), "o_bytes": tf.identity(s), "n": tf.strings.length(s)},
        "scalar": lambda x: {"y": x * 2},
        "anyrank": lambda x: {"y": tf.identity(x), "z": tf.constant(7)},
        "fixed": lambda x: {"y": x + 1},
        "column": lambda x: {"y": 0.5 * x + 2.0},
        "idiv": lambda x: {"y": 6 // x},
        "noinput": lambda: {"y": tf.constant([1.5, 2.5])},
        "mixed": lambda x: {"y": 0.5 * x, "k": tf.constant([1.0, 2.0, 3.0]), "c": tf.constant(1)},
        "defaults": lambda x, w: {"y": x + w},
        "to_complex": lambda x: {"y": tf.complex(x, x)},
    }
    made = {}
    for name, inputs in SIGNATURES.items():
        specs = {alias: tf.TensorSpec(shape, dtype, name=alias) for alias, (shape, dtype) in inputs.items()}
        function = tf.function(compute.get(name, lambda x: {"y": tf.identity(x)}), autograph=False)
        made[name] = function.get_concrete_function(**specs)
    return made


def _example_function(tf: Any, name: str) -> Any:
    """Return a function of tf.Examples with the features x, y, k and s, of which only x has no default."""
    features = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "y": tf.io.FixedLenFeature([1], tf.float32, default_value=[1.0]),
        "k": tf.io.FixedLenFeature([1], tf.int64, default_value=[0]),
        "s": tf.io.FixedLenFeature([1], tf.string, default_value=["d"]),
    }

    def compute(inputs: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(inputs, features)
        score = 0.5 * parsed["x"] + parsed["y"] + tf.cast(parsed["k"], tf.float32)
        scores = tf.concat([score, 1 - score], 1)
        classes = tf.concat([parsed["s"], parsed["s"] + "!"], 1)
        outputs = {
            "regress": {"outputs": score},
            "regress_flat": {"outputs": tf.reshape(score, [-1])},
            "regress_two": {"outputs": scores},
            "classify": {"scores": scores, "classes": classes},
            "classify_scores": {"scores": scores},
            "classify_classes": {"classes": classes},
            "classify_mismatch": {"scores": score, "classes": classes},
            "classify_flat": {"scores": tf.reshape(score, [-1])},
        }
        return outputs[name]

    return tf.function(compute).get_concrete_function(tf.TensorSpec([None], tf.string, name="inputs"))


def _add_default(tf: Any, path: Path) -> None:
    """Give the input w of the signature defaults the default value [10.0]."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    defaults = saved.meta_graphs[0].signature_def["defaults"].defaults
    defaults["w"].CopyFrom(tf.make_tensor_proto([10.0], tf.float32))
    file.write_bytes(saved.SerializeToString())
