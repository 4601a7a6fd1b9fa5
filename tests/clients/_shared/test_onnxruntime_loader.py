"""The session options that all onnxruntime sessions share."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bertbundle._shared import onnxruntime_loader
from bertbundle._shared.onnxruntime_loader import session_options

DEPTH = 3072
PRECISION_MODE = "session.x64quantprecision"


def product(kernel: np.ndarray) -> bytes:
    """Return a model that multiplies uint8 rows of `DEPTH` columns by an int8 kernel."""
    node = helper.make_node("MatMulInteger", ["rows", "kernel"], ["sums"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, [None, DEPTH])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [None, kernel.shape[1]])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("value", [-128, 127])
def test_int8_products_do_not_overflow(value: int) -> None:
    """The largest products are summed exactly on this CPU: two of them do not fit into 16 bits."""
    kernel = np.full((DEPTH, 16), value, np.int8)
    rows = np.full((5, DEPTH), 255, np.uint8)
    session = onnxruntime.InferenceSession(
        product(kernel), session_options(onnxruntime), providers=["CPUExecutionProvider"]
    )
    (sums,) = session.run(None, {"rows": rows})
    np.testing.assert_array_equal(sums, rows.astype(np.int64) @ kernel.astype(np.int64))


@pytest.mark.parametrize(("flag", "exact"), [(None, True), ("avx512_vnni", False), ("amx_int8", False)])
def test_exact_kernels_only_where_the_fast_ones_overflow(
    flag: str | None, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower int8 kernels are chosen only on CPUs whose fast ones overflow."""
    monkeypatch.setattr(onnxruntime_loader, "fast_int8", lambda: flag)
    options = session_options(onnxruntime)
    if exact:
        assert options.get_session_config_entry(PRECISION_MODE) == "1"
    else:
        with pytest.raises(RuntimeError, match=PRECISION_MODE):
            options.get_session_config_entry(PRECISION_MODE)
