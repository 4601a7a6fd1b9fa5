"""The shape of the source tree: small folders, small modules, short functions, and tests in the same places."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from paths import ROOT

PACKAGES = {
    "clients": ROOT / "clients/bertbundle",
    "export": ROOT / "export/bertbundle_export",
    "gateway": ROOT / "serving/bertbundle_gateway",
    "serving": ROOT / "serving/bertbundle_serving",
}
MAX_MODULES_PER_FOLDER = 16
MAX_LINES_PER_MODULE = 300
MAX_LINES_P90 = 20
"""Nine out of ten functions have at most this many lines, not counting the docstring."""

NOT_NAMED_AFTER_A_MODULE = {
    "clients/text/test_offsets.py": "character offsets, from the tokenizer through the windows",
    "clients/text/test_padding.py": "the share of padding in what a client sends",
    "clients/transports/test_chaos.py": "every transport behind an unreliable network",
    "serving/grpc_api/test_official_stubs.py": "the gRPC API through TensorFlow Serving's own stubs",
    "serving/protos/test_api_proto.py": "generated messages against TensorFlow Serving's",
    "serving/protos/test_config_proto.py": "generated configuration messages against TensorFlow Serving's",
    "serving/runtimes/test_any_saved_model.py": "SavedModels that are not bundles, over gRPC and REST",
    "serving/runtimes/test_runtimes.py": "requirements of every runtime",
}
"""Test files in a package's folder that do not test a single module, and what they test."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

every_package = pytest.mark.parametrize("package", PACKAGES)


def modules(folder: Path) -> list[Path]:
    """Return the modules directly in a folder, except generated ones."""
    return sorted(path for path in folder.glob("*.py") if not path.stem.endswith("_pb2"))


def folders(root: Path) -> list[Path]:
    """Return a package's folder and all folders of modules below it."""
    return [root, *sorted({path.parent for path in root.rglob("*.py")} - {root})]


def functions(path: Path) -> Iterator[Function]:
    """Yield the functions and methods of a module, nested ones included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Return the number of lines from `def` to the end of the function, not counting the docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return lines - (((first.end_lineno or 0) - first.lineno + 1) if documented else 0)


@every_package
def test_folders_are_small(package: str) -> None:
    """No folder has more than 16 modules."""
    sizes = {str(folder.relative_to(ROOT)): len(modules(folder)) for folder in folders(PACKAGES[package])}
    assert {name: size for name, size in sizes.items() if size > MAX_MODULES_PER_FOLDER} == {}


@every_package
def test_modules_are_small(package: str) -> None:
    """No module has more than 300 lines."""
    paths = [path for folder in folders(PACKAGES[package]) for path in modules(folder)]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {name: count for name, count in lines.items() if count > MAX_LINES_PER_MODULE} == {}


@every_package
def test_functions_are_short(package: str) -> None:
    """Nine out of ten functions have at most 20 lines."""
    paths = [path for folder in folders(PACKAGES[package]) for path in modules(folder)]
    lengths = sorted(length(function) for path in paths for function in functions(path))
    assert lengths[math.ceil(0.9 * len(lengths)) - 1] <= MAX_LINES_P90


@every_package
def test_folders_have_docstrings(package: str) -> None:
    """Every folder of modules is a package whose `__init__.py` has a docstring."""
    undocumented = []
    for folder in folders(PACKAGES[package]):
        file = folder / "__init__.py"
        if not file.is_file() or ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) is None:
            undocumented.append(str(folder.relative_to(ROOT)))
    assert undocumented == []


@every_package
def test_tests_mirror_the_package(package: str) -> None:
    """A test file in `tests/<stage>/<folder>` is named after a module in the package's folder of the same name."""
    root = ROOT / "tests" / package
    unnamed = set()
    for path in sorted(root.rglob("test_*.py")):
        folder = PACKAGES[package] / path.parent.relative_to(root)
        names = {module.stem.strip("_") for module in folder.glob("*.py")}
        if path.parent != root and path.stem.removeprefix("test_") not in names:
            unnamed.add(str(path.relative_to(ROOT / "tests")))
    assert unnamed == {name for name in NOT_NAMED_AFTER_A_MODULE if name.startswith(f"{package}/")}
