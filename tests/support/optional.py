"""Skip tests whose optional requirements are missing, with a reason that says how to get them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NoReturn, TypeVar

import pytest

__all__ = ["TORCH_MARKS", "needs_model_server", "needs_openvino", "needs_torch", "require_package", "skip_without"]

HOW_TO_GET = {
    "torch": "make setup-torch",
    "openvino": "make setup",
    "matplotlib": "make setup",
    "pyarrow": "make setup",
    "tensorflow_serving": "make setup",
    "the otel extra": "make setup",
    "ray": "make setup-cluster",
    "pyspark": "make setup-cluster",
    "apache_beam": "make setup-cluster",
    "moto": "make setup-cluster",
    "java": "apt install openjdk-17-jre-headless",
    "cloudpickle": "make setup-cluster",
    "fsspec": "make setup-cluster",
    "pandas": "make setup-cluster",
    "transformers": "make setup",
    "scipy": "make setup",
    "seqeval": "make setup",
    "sklearn": "make setup",
    "fugashi": "make setup",
    "grpc_tools": "make setup",
    "ipadic": "make setup",
    "sudachipy": "make setup",
    "sudachidict_small": "make setup",
    "sudachidict_core": "pip install sudachidict-core",
    "unidic_lite": "pip install unidic-lite",
    "openssl": "apt install openssl",
    "chromium": "apt install chromium",
    "curl": "apt install curl",
    "prometheus": "make setup-cluster",
    "node": "apt install nodejs",
    "kubectl": "install Kubernetes' command-line client, 1.27 or newer",
    "kubernetes_validate": "make setup",
    "KServe's package": "make setup-manifests",
    "cloudcoil": "make setup-manifests",
    "hadolint": "make setup-manifests",
    "helm_python": "make setup-manifests",
    "npm packages": "npm install --prefix DIR @huggingface/inference @grpc/grpc-js @grpc/proto-loader, then set "
    "BERTBUNDLE_NODE_MODULES to DIR/node_modules",
    "the clients of KServe and Triton": "python3 -m venv DIR, DIR/bin/pip install kserve 'tritonclient[grpc,http]', "
    "then set BERTBUNDLE_INFERENCE_PYTHON to DIR/bin/python",
    "open_inference": "make setup",
    "a running Docker engine": "apt install docker.io, then start it",
    "a real TensorFlow Serving": "set TENSORFLOW_MODEL_SERVER to a tensorflow_model_server binary, 2.16 or newer",
    "a processor with int8 products": "run on a processor with AVX512-VNNI, AVX-VNNI or AMX",
    "an NVIDIA GPU": "run on a machine with one, with `pip install '.[gpu]'` instead of the package onnxruntime",
    "a GPU of TensorFlow": "run on a machine with an NVIDIA GPU, with `pip install 'tensorflow[and-cuda]'`",
    "a TensorFlow with oneDNN": "run on x86-64 Linux",
    "oneDNN in TensorFlow's graph optimizer": "set TF_ENABLE_ONEDNN_OPTS=1",
    "envoy": "make setup-cluster",
    "iproute2": "make setup-cluster",
    "a kernel with netem": "run on a Linux with CONFIG_NET_SCH_NETEM",
    "the IPv6 loopback address": "sysctl net.ipv6.conf.lo.disable_ipv6=0",
}
"""How to get each optional requirement; apt commands are for Debian."""


def reason(what: str, how: str | None = None) -> str:
    """Return the reason of a skip: what is missing, and how to get it (by default as in `HOW_TO_GET`)."""
    return f"needs {what}: {how or HOW_TO_GET[what]}"


def skip_without(what: str, how: str | None = None) -> NoReturn:
    """Skip the running test because something is missing."""
    pytest.skip(reason(what, how))


def require_package(name: str) -> Any:
    """Import an optional package or a module of it, or skip the running test."""
    package = name.partition(".")[0]
    if find_spec(package) is None:
        skip_without(package)
    return importlib.import_module(name)


needs_model_server = pytest.mark.skipif(
    not os.environ.get("TENSORFLOW_MODEL_SERVER"), reason=reason("a real TensorFlow Serving")
)
"""For tests whose fixtures are expensive: they are not made if the test is skipped."""

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason=reason("openvino"))

TORCH_MARKS = (pytest.mark.torch, pytest.mark.skipif(find_spec("torch") is None, reason=reason("torch")))
"""For `pytestmark` and `pytest.param(marks=...)`: the marker `torch`, and the skip where torch is not installed."""

_Test = TypeVar("_Test", bound=Callable[..., Any])


def needs_torch(test: _Test) -> _Test:
    """Mark a test with `TORCH_MARKS`."""
    for mark in TORCH_MARKS:
        test = mark(test)
    return test
