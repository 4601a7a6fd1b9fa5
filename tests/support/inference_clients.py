"""The clients of KServe and of Triton, in an environment of their own: they need an older protobuf than the others."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optional import skip_without

__all__ = ["ask_with_clients", "inference_python"]

_VARIABLE = "BERTBUNDLE_INFERENCE_PYTHON"
_SECONDS = 300

_TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc, tritonclient.http

url, address, model, inputs = *sys.argv[1:4], json.loads(sys.argv[4])


def ask(client, package, model, **options):
    tensors = []
    for name, texts in inputs.items():
        tensor = package.InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode() for text in texts], object), **options)
        tensors.append(tensor)
    result = client.infer(model, tensors, request_id="42")
    response = result.get_response()
    described = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [output["name"] if isinstance(output, dict) else output.name for output in described]
    values = {name: result.as_numpy(name).tolist() for name in names}
    return {name: [v.decode() if isinstance(v, bytes) else v for v in value] for name, value in values.items()}


answers = {}
for kind, package, where in (("grpc", tritonclient.grpc, address), ("http", tritonclient.http, url[7:])):
    client = package.InferenceServerClient(where)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
    metadata = client.get_model_metadata(model)
    assert (metadata["name"] if kind == "http" else metadata.name) == model
    answers[f"triton {kind}"] = ask(client, package, model)
    if kind == "http":
        answers["triton http json"] = ask(client, package, model, binary_data=False)
    try:
        ask(client, package, "nobody")
    except tritonclient.utils.InferenceServerException as error:
        answers[f"triton {kind} error"] = [error.status(), error.message()]
    client.close()
print(json.dumps(answers))
"""

_KSERVE = """
import asyncio, json, logging, sys
import grpc, httpx, numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

url, address, model, inputs = *sys.argv[1:4], json.loads(sys.argv[4])
logging.disable(logging.CRITICAL)


def request(model, binary):
    tensors = []
    for name, texts in inputs.items():
        tensor = InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array(texts, object), binary_data=binary)
        tensors.append(tensor)
    return InferRequest(model_name=model, infer_inputs=tensors, request_id="42")


def values(response):
    assert (response.model_name, response.id) == (model, "42")
    arrays = {output.name: output.as_numpy().tolist() for output in response.outputs}
    return {name: [v.decode() if isinstance(v, bytes) else v for v in value] for name, value in arrays.items()}


async def main():
    answers = {}
    async with InferenceGRPCClient(url=address) as client:
        assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(model)
        for binary in (True, False):
            answers[f"kserve grpc {binary}"] = values(await client.infer(request(model, binary)))
        try:
            await client.infer(request("nobody", True))
        except grpc.RpcError as error:
            answers["kserve grpc error"] = [error.code().name, error.details()]
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, model)
        for binary in (True, False):
            answer = await client.infer(url, request(model, binary), model_name=model)
            answers[f"kserve rest {binary}"] = values(answer)
        try:
            await client.infer(url, request("nobody", True), model_name="nobody")
        except httpx.HTTPStatusError as error:
            answers["kserve rest error"] = [error.response.status_code, error.response.json()["error"]]
    print(json.dumps(answers))


asyncio.run(main())
"""


def inference_python() -> str:
    """Return the interpreter of the environment, or skip the running test."""
    python = os.environ.get(_VARIABLE)
    if python is None or not Path(python).is_file():
        skip_without("the clients of KServe and Triton")
    return python


def ask_with_clients(url: str, address: str, model: str, inputs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the outputs for texts by each client and form, and each one's error about the model ``nobody``.

    The test is skipped without the environment.

    Args:
        url: the root URL of the REST API.
        address: ``host:port`` of the gRPC API.
        model: the model; all clients also ask whether it is ready.
        inputs: texts by the names of the inputs.
    """
    python, answers = inference_python(), {}
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    for script in (_TRITON, _KSERVE):
        command = [python, "-c", script, url, address, model, json.dumps(inputs)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        answers.update(json.loads(done.stdout))
    return answers
