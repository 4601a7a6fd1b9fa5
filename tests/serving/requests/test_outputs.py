"""The configuration of the server determines the encoding of outputs."""

from __future__ import annotations

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from embedded_server import Serve
from tiny_bundles import TinyBundles


def test_strings_as_content(bundles: TinyBundles, serve: Serve) -> None:
    """With --enable_serialization_as_tensor_content, strings are in tensor_content, too."""
    bundles.write(1)
    import numpy as np

    spec = wire.ModelSpec(name="tiny", signature_name="bundle_info")
    request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors({"row": np.zeros(3, np.int32)}))
    tensor = serve(bundles.base, tensor_content=True).address.predict(request).outputs["tokenizer"]
    assert not tensor.string_val
    assert decode_tensor(tensor).tolist() == [b'{"fake": "tokenizer"}'] * 3
