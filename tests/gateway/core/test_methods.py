"""Methods and their options."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from bertbundle.decoding.decoders import DECODERS
from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.core.methods import METHOD_OF_TASK, METHODS, Options, check_items, find_method, prepare


def test_every_task() -> None:
    """Every task of the client has a method, which is named and takes what the client's method does."""
    assert {task: decoder.method for task, decoder in DECODERS.items()} == METHOD_OF_TASK
    assert {decoder.method: decoder.takes for decoder in DECODERS.values()} == {
        m.name: m.takes for m in METHODS.values()
    }


VALUES: dict[str, Any] = {
    "truncation": "window",
    "stride": 1,
    "head": "slots",
    "is_split_into_words": True,
    "top_k": 1,
    "threshold": 0.1,
    "max_answer_len": 3,
    "handle_impossible_answer": True,
}


@pytest.mark.parametrize("name", METHODS)
def test_options(name: str) -> None:
    """An option that a method does not have is refused by name; the others reach the client."""
    assert set(VALUES) == {field.name for field in fields(Options)}
    for option, value in VALUES.items():
        if option in METHODS[name].options:
            prepare(METHODS[name], Options(**{option: value}))
        else:
            with pytest.raises(RequestError, match=f"has no option {option}") as caught:
                prepare(METHODS[name], Options(**{option: value}))
            assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", option)


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": "cut"},
        {"stride": -1},
        {"head": ""},
        {"top_k": 0},
        {"top_k": True},
        {"threshold": float("nan")},
        {"threshold": 1.5},
    ],
)
def test_wrong_values(options: dict[str, Any]) -> None:
    """A wrong value is refused with what is expected."""
    with pytest.raises(RequestError, match="must be") as caught:
        prepare(METHODS["classify"], Options(**options))
    assert caught.value.reason == "INVALID_OPTION"


@pytest.mark.parametrize("value", [0, 1001])
def test_max_answer_len(value: int) -> None:
    """The time to find an answer grows with its maximum length, which is limited."""
    with pytest.raises(RequestError, match="max_answer_len must be a whole number from 1 to 1000, got"):
        prepare(METHODS["answer"], Options(max_answer_len=value))


@pytest.mark.parametrize(
    ("method", "item", "options"),
    [
        ("embed", ("a", "b"), {}),
        ("answer", "a", {}),
        ("classify", ["a"], {}),
        ("classify", ("a", "b", "c"), {}),
        ("entities", "a", {"is_split_into_words": True}),
        ("entities", ["a"], {}),
        ("entities", 5, {}),
    ],
)
def test_wrong_items(method: str, item: Any, options: dict[str, Any]) -> None:
    """An item of another kind is refused."""
    with pytest.raises(RequestError, match="takes a") as caught:
        check_items(METHODS[method], [item], Options(**options))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_no_such_method() -> None:
    """A method that does not exist is refused."""
    with pytest.raises(RequestError, match="no method 'ner'"):
        find_method("ner")
