"""The warmup records."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from bertbundle import Client, PredictCall, Prediction
from bertbundle.decoding.decoders import DECODERS
from bertbundle.session.batches import AskOptions
from bertbundle.transports.local import LocalTransport
from bertbundle_export import Exported

pytestmark = pytest.mark.slow


def test_warmup_records(tiny_bundle: Exported, tensorflow: Any) -> None:
    """The warmup file has one PredictionLog per signature, which the official package can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorflow_serving.apis import prediction_log_pb2

    path = tiny_bundle.path / "assets.extra/tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(item.numpy()) for item in tensorflow.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    shapes = {
        request.model_spec.signature_name: [dim.size for dim in request.inputs["input_ids"].tensor_shape.dim]
        for request in requests
    }
    assert shapes == {name: [1, length] for name, length in tiny_bundle.manifest.signatures.items()}
    assert {request.model_spec.name for request in requests} == {"tiny"}
    transport = RecordingTransport(tiny_bundle.path)
    with Client("", "tiny", transport=transport) as client:
        client.ask(DECODERS[tiny_bundle.manifest.task], ["wang"], AskOptions())
    assert {tuple(request.output_filter) for request in requests} == {transport.outputs}


class RecordingTransport(LocalTransport):
    """Keeps the outputs that the last call requested."""

    outputs: tuple[str, ...] = ()

    def predict(self, call: PredictCall, **options: Any) -> Prediction:
        """See `Transport.predict`."""
        self.outputs = call.outputs
        return super().predict(call, **options)
