"""Decode a response of 12.6 MB in `float_val`, the default encoding of servers.

The peer is the usual code, which parses with tensorflow-serving-api's message and then calls `tf.make_ndarray`.
"""

from __future__ import annotations

import os

import numpy as np
from common import interleave, parser, report

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensors, encode_tensors

SHAPE = (32, 128, 768)
"""Hidden states of a BERT-base batch."""


def main() -> None:
    """Decode the same bytes alternately."""
    options = parser(__doc__ or "").parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    values = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    data = wire.PredictResponse(outputs=encode_tensors({"x": values}, as_content=False)).SerializeToString()

    def ours() -> object:
        return decode_tensors(wire.PredictResponse.FromString(data).outputs)["x"]

    def theirs() -> object:
        return tf.make_ndarray(predict_pb2.PredictResponse.FromString(data).outputs["x"])

    np.testing.assert_array_equal(ours(), theirs())
    mine, peer = interleave(ours, theirs, options.rounds)
    report("decode", {"MB": len(data) / 1e6, "ms": mine * 1e3, "ms_usual": peer * 1e3, "ratio": peer / mine}, options)


main()
