"""A SavedModel in a session: shapes are the graph's business, strings of any rank are safe, errors name no files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.data_types import BY_DTYPE
from bertbundle.wire.tensors import decode_tensor, tensor_shape
from bertbundle_serving.errors import RequestError
from many_signatures import DTYPES, save_many_signatures
from runtime_files import load

pytestmark = pytest.mark.slow  # imports TensorFlow
MAX_RANK = 32 if np.__version__.startswith("1.") else 64


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Any:
    """The model of many signatures, loaded."""
    path = tmp_path_factory.mktemp("many") / "1"
    save_many_signatures(tensorflow, path)
    return load(path, "saved_model")


@pytest.mark.parametrize("rank", [0, 1, 31, 32, *([33, 34, 63, 64] if MAX_RANK == 64 else [])])
def test_strings_of_any_rank(servable: Any, rank: int) -> None:
    """Strings of more than 32 dimensions, at which TensorFlow's conversion ends the process, pass in both directions.

    The declared rank does not matter: t_st is declared as a vector.
    """
    strings = np.array([b"a"], object).reshape((1,) * rank)
    for signature in ("anystr", "t_st"):
        answer = servable.run(signature, {"x": strings}, ["y"])["y"]
        assert (answer.shape, answer.reshape(-1).tolist()) == ((1,) * rank, [b"a"])


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(servable: Any, name: str) -> None:
    """Every dtype passes in both directions, bit by bit; a signature's dtype is that of what requests hold."""
    dtype = servable.signatures[f"t_{name}"].inputs["x"].dtype
    values = decode_tensor(wire.Tensor(dtype=BY_DTYPE[dtype].number, tensor_shape=tensor_shape((3,))))
    if name != "st":
        values = np.frombuffer(bytes([1, 0, 0, 0, 0, 0, 0, 0] * 6), dtype)[:3].copy()
    answer = servable.run(f"t_{name}", {"x": values}, ["y"])["y"]
    assert answer.dtype == servable.signatures[f"t_{name}"].outputs["y"].dtype == dtype
    assert answer.tolist() == values.tolist()


def test_shapes_are_not_compared(servable: Any) -> None:
    """A vector for an input that is declared [-1, 1] is computed, as half_plus_two of TensorFlow's tutorial is."""
    answer = servable.run("column", {"x": np.array([1, 2, 5], np.float32)}, ["y"])["y"]
    assert answer.tolist() == [2.5, 3.0, 4.5]


def test_graph_error_names_no_file(servable: Any) -> None:
    """An error of the graph has TensorFlow's text and the node, not the code that built the graph."""
    with pytest.raises(RequestError) as caught:
        servable.run("idiv", {"x": np.zeros(1, np.int32)}, ["y"])
    assert caught.value.code == "INVALID_ARGUMENT"
    assert caught.value.message.startswith("Integer division by zero")
    assert "File" not in caught.value.message
    assert "Graph execution error" not in caught.value.message


def test_selected_outputs_are_computed(servable: Any) -> None:
    """Outputs that nobody asks for are not computed; many selections are no leak."""
    for _ in range(3):
        assert set(servable.run("text", {"s": np.array([b"ab"], object)}, ["n"])) == {"n"}
        answer = servable.run("text", {"s": np.array([b"ab"], object)}, ["o", "n"])
        assert {name: array.tolist() for name, array in answer.items()} == {"o": [b"ab"], "n": [2]}


def test_old_graph_with_parse_example(tmp_path: Path, tensorflow: Any) -> None:
    """A TensorFlow 1 graph whose tf.Examples are declared as a scalar is served, as half_plus_three is."""
    save_half_plus_three(tensorflow, tmp_path / "1")
    servable = load(tmp_path / "1", "saved_model")
    feature = tensorflow.train.Feature(float_list=tensorflow.train.FloatList(value=[2.0]))
    example = tensorflow.train.Example(features=tensorflow.train.Features(feature={"x": feature}))
    examples = np.array([example.SerializeToString()], object)
    assert servable.run("regress", {"inputs": examples}, ["outputs"])["outputs"].tolist() == [[4.0]]
    assert servable.run("serving_default", {"x": np.array([1.0], np.float32)}, ["y"])["y"].tolist() == [3.5]


def save_half_plus_three(tf: Any, path: Path) -> None:
    """Save x / 2 + 3 over the op ParseExample, with the shape of the placeholder as old TensorFlow wrote it."""
    from tensorflow.core.protobuf import saved_model_pb2

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, name="tf_example")
        x = tf.raw_ops.ParseExample(
            serialized=examples,
            names=[],
            sparse_keys=[],
            dense_keys=["x"],
            dense_defaults=[tf.constant([], tf.float32)],
            sparse_types=[],
            dense_shapes=[[1]],
        ).dense_values[0]
        y = x * 0.5 + 3.0
        made = v1.saved_model.signature_def_utils
        signatures = {
            "serving_default": made.predict_signature_def({"x": x}, {"y": y}),
            "regress": made.regression_signature_def(examples, y),
        }
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for node in saved.meta_graphs[0].graph_def.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.unknown_rank = False
            node.attr.pop("_output_shapes", None)
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
