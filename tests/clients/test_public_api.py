"""What the package shows, and what importing it costs."""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import bertbundle
from bertbundle.errors import BertBundleError
from bertbundle.wire.status_errors import error_from_status

HEAVY = ("tensorflow", "keras", "tf_keras", "transformers", "onnxruntime", "onnx", "torch", "bertbundle_serving")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(bertbundle.__path__, "bertbundle.")
    if not module.ispkg  # a folder: its __init__.py is a docstring
    and module.name not in ("bertbundle.__main__", "bertbundle.wire._wire_pb2")  # runs the command; generated
)


def test_all_is_sorted() -> None:
    """__all__ is sorted and names each thing once."""
    assert bertbundle.__all__ == sorted(set(bertbundle.__all__))


def test_all_is_what_is_public() -> None:
    """__all__ names exactly the public names of the package."""
    public = {
        name
        for name, value in vars(bertbundle).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(bertbundle.__all__) == public


def test_all_is_written_by_hand() -> None:
    """__all__ is a list of names that a reader and a type checker can see."""
    tree = ast.parse(Path(bertbundle.__file__).read_text(encoding="utf-8"))
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert ast.literal_eval(value) == bertbundle.__all__


@pytest.mark.parametrize("name", MODULES)
def test_all_of_each_module(name: str) -> None:
    """Each module has a sorted __all__ of names it has, and a docstring."""
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__, key=lambda each: (not each.isupper(), each))
    assert all(hasattr(module, each) for each in module.__all__)
    assert module.__doc__


@pytest.mark.parametrize("name", bertbundle.__all__)
def test_public_names_have_docstrings(name: str) -> None:
    """Every public name, and each public method of it, has a docstring of its own."""
    value = getattr(bertbundle, name)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "the docstring is the one that dataclasses make up"
    methods = [(key, each) for key, each in vars(value).items() if inspect.isfunction(each) and not key.startswith("_")]
    assert all(each.__doc__ for _, each in methods), [key for key, each in methods if not each.__doc__]


def test_every_error_is_public() -> None:
    """Every error of the project can be caught by a name of the package."""
    found = [BertBundleError]
    for error in found:
        found.extend(each for each in error.__subclasses__() if each.__module__ == "bertbundle.errors")
    assert {error.__name__ for error in found} <= set(bertbundle.__all__)
    assert all(error.__name__ in (sys.modules["bertbundle.errors"].__doc__ or "") for error in found)


@pytest.mark.parametrize("module", ["bertbundle", "bertbundle.cli.main"])
def test_import_is_light(module: str) -> None:
    """Importing the client, or its command, loads nothing heavy."""
    code = f"import sys, {module}; print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("[]\n", "")


TASKS = {
    "client": "token-classification",
    "classifier": "text-classification",
    "embedder": "feature-extraction",
    "regressor": "regression",
    "reader": "question-answering",
    "filler": "fill-mask",
}


@pytest.fixture
def names(fakes: Any, start: Any) -> Iterator[dict[str, Any]]:
    """Give what examples may name beside their own module: clients of each task, a server, the public names."""
    address = start(fakes.answers_of(fakes.Model()), fakes.available).address
    clients = {
        key: bertbundle.Client(
            "nowhere:1", "tiny", transport=fakes.FakeTransport(fakes.Model(fakes.make_manifest(task)))
        )
        for key, task in TASKS.items()
    }
    public = {name: getattr(bertbundle, name) for name in bertbundle.__all__}
    used = {"asyncio": asyncio, "grpc": grpc, "np": np, "tempfile": tempfile, "error_from_status": error_from_status}
    transport = bertbundle.GrpcTransport(address)
    yield public | used | clients | {"address": address, "transport": transport}
    transport.close()


@pytest.mark.parametrize("name", ["bertbundle", *MODULES])
def test_examples_in_docstrings(names: dict[str, Any], name: str) -> None:
    """The examples in docstrings give what they show; `client` and the like ask a model of their task."""
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS).failed == 0


def methods(value: Any) -> dict[str, Any]:
    """Return the public methods of a public class, those of its bases too."""
    if not isinstance(value, type):
        return {}
    found = {key: inspect.getattr_static(value, key) for key in dir(value) if not key.startswith("_")}
    plain = {key: getattr(each, "__func__", each) for key, each in found.items()}
    ours = {key: each for key, each in plain.items() if inspect.isfunction(each)}
    return {key: each for key, each in ours.items() if each.__module__.startswith("bertbundle")}


def has_example(value: Any) -> bool:
    """Tell whether a docstring has an example, or names the method whose it is."""
    text = value.__doc__ or ""
    if ">>> " in text:
        return True
    reference = re.match(r"(?:As|See) `(\w+)\.(\w+)`", text)
    return reference is not None and has_example(getattr(getattr(bertbundle, reference[1]), reference[2]))


@pytest.mark.parametrize("name", bertbundle.__all__)
def test_public_names_have_examples(name: str) -> None:
    """Every public name has an example in its docstring, and so has each of its public methods."""
    value = getattr(bertbundle, name)
    assert has_example(value)
    assert [key for key, each in methods(value).items() if not has_example(each)] == []


def test_examples_run() -> None:
    """Hardly an example is left out when the others run: those that open a bundle's directory."""
    examples = [
        (module, example)
        for module in MODULES
        for test in doctest.DocTestFinder().find(importlib.import_module(module))
        for example in test.examples
    ]
    assert {module for module, each in examples if doctest.SKIP in each.options} <= {
        "bertbundle.client.sync_client",
        "bertbundle.transports.local",
        "bertbundle.transports.rest",
    }
    assert len(examples) > len(bertbundle.__all__)
