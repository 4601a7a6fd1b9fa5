"""Warmup records: requests that a server runs on a new version before serving it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bertbundle.contract.types import InputFeatures
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors

__all__ = ["WARMUP_FILE", "write_warmup"]

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
"""The path that TensorFlow Serving reads (tensorflow_serving/servables/tensorflow/saved_model_warmup.cc)."""


def write_warmup(bundle: Path, name: str, batches: Sequence[InputFeatures], outputs: Sequence[str]) -> None:
    """Write a TFRecord file of PredictionLog records: one per signature, with the first row of its batch.

    The records request what clients do. TensorFlow prepares a graph, with a copy of rearranged kernels, for each
    selection of outputs.

    Args:
        bundle: version directory.
        name: model name.
        batches: one per signature.
        outputs: the outputs that clients request.
    """
    from bertbundle_export.tensorflow_import import tf

    path = bundle / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in batches:
            first = {key: value[:1] for key, value in features.inputs.items()}
            spec = wire.ModelSpec(name=name, signature_name=features.signature)
            request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors(first), output_filter=outputs)
            log = wire.PredictionLog(predict_log=wire.PredictLog(request=request))
            writer.write(log.SerializeToString())
