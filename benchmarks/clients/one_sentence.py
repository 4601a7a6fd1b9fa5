"""Time that the client adds to a call with one sentence, to tokenize, encode and decode.

The transport returns a fake response, serialized and parsed as gRPC does it, so that only the client is measured.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from common import parser, report, seconds, shared_file
from vocabulary import write_tokenizer

from bertbundle import Client, PredictCall, Prediction, foreign_manifest
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.messages import predict_request
from bertbundle.wire.tensors import decode_tensors, encode_tensors

LABELS = ["O", *(f"{role}-{kind}" for kind in ("PER", "LOC", "ORG") for role in "BI")]
SENTENCE = "张三于2019年在北京大学获得博士学位，现任某某科技有限公司首席技术官。"


class FakeTransport:
    """A transport that returns labels for every token, through serialized messages."""

    def __init__(self, labels: int) -> None:
        self.labels = labels

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """See `Transport.predict`."""
        predict_request(call).SerializeToString()
        ids = (call.inputs["input_ids"] % self.labels).astype(np.int32)
        arrays = {"label_ids": ids, "label_scores": np.full(ids.shape, 0.9, np.float32)}
        data = wire.PredictResponse(outputs=encode_tensors(arrays, as_content=False)).SerializeToString()
        return Prediction(decode_tensors(wire.PredictResponse.FromString(data).outputs), 1)

    def close(self) -> None:
        """See `Transport.close`."""


def main() -> None:
    """Time calls with one sentence."""
    options = parser(__doc__ or "").parse_args()
    manifest = foreign_manifest(
        "token-classification", max_length=64, labels=LABELS, outputs=("label_ids", "label_scores")
    )
    tokenizer = write_tokenizer(shared_file("data/bert-base-chinese-vocab.txt"))
    transport: Any = FakeTransport(len(LABELS))
    client = Client("", "ner", transport=transport, manifest=manifest, tokenizer=tokenizer)
    for _ in range(200):
        client.entities(SENTENCE)
    times = sorted(seconds(lambda: client.entities(SENTENCE)) for _ in range(400 * options.rounds))
    report(
        "one_sentence",
        {"median_ms": statistics.median(times) * 1e3, "p99_ms": times[int(len(times) * 0.99)] * 1e3},
        options,
    )


main()
