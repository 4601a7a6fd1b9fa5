"""What the package shows, and what importing it costs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import bertbundle
from bertbundle.errors import BertBundleError

HEAVY = ("tensorflow", "keras", "tf_keras", "transformers", "onnxruntime", "onnx", "torch", "bertbundle_serving")
MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(bertbundle.__path__, "bertbundle.")
    if module.name not in ("bertbundle.__main__", "bertbundle._wire_pb2")  # runs the command; generated
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


@pytest.mark.parametrize("module", ["bertbundle", "bertbundle.cli"])
def test_import_is_light(module: str) -> None:
    """Importing the client, or its command, loads nothing heavy."""
    code = f"import sys, {module}; print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def issubclass_of_error(name: str) -> bool:
    """Tell whether a public name is an exception."""
    value = getattr(bertbundle, name)
    return isinstance(value, type) and issubclass(value, Exception)


TASKS = {
    "client": "token-classification",
    "classifier": "text-classification",
    "embedder": "feature-extraction",
    "regressor": "regression",
    "reader": "question-answering",
    "filler": "fill-mask",
}


@pytest.mark.parametrize("name", ["bertbundle", *MODULES])
def test_examples_in_docstrings(fakes: Any, name: str) -> None:
    """The examples in docstrings give what they show; `client` and the like ask a model of their task."""
    names = {
        key: bertbundle.Client(
            "nowhere:1", "tiny", transport=fakes.FakeTransport(fakes.Model(fakes.make_manifest(task)))
        )
        for key, task in TASKS.items()
    }
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.parametrize("name", [name for name in bertbundle.__all__ if not issubclass_of_error(name)])
def test_public_names_have_examples(name: str) -> None:
    """Every public name but the errors has an example in its docstring, or in one of its methods'."""
    value = getattr(bertbundle, name)
    texts = [value.__doc__, *(each.__doc__ for each in vars(value).values() if inspect.isfunction(each))]
    assert any(">>> " in text for text in texts if text), f"{name} has no example"


def test_there_are_examples() -> None:
    """The examples above are found at all."""
    tests = [
        len(each.examples) for name in MODULES for each in doctest.DocTestFinder().find(importlib.import_module(name))
    ]
    assert sum(tests) >= 5


def test_version_is_that_of_the_distribution() -> None:
    """__version__ is the version that pyproject.toml builds."""
    project = Path(bertbundle.__file__).parent.parent / "pyproject.toml"
    assert f'\nversion = "{bertbundle.__version__}"\n' in project.read_text(encoding="utf-8")
