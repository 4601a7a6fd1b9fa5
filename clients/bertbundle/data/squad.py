"""Read questions with their contexts and answers from the JSON of SQuAD 1.1 or 2.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bertbundle._shared.validation import short_repr
from bertbundle.data.examples import Dataset, DataTask, Example
from bertbundle.data.places import Place, Places, position_in_json
from bertbundle.errors import InputError

__all__ = ["check_start", "looks_like_squad", "squad_dataset"]

_TASK = "question-answering"
_VERSION_2 = ("v2.0", "2.0")


def looks_like_squad(value: object) -> bool:
    """Return whether a JSON value has the outer form of SQuAD: an object with a list `data` of paragraphs."""
    articles = value.get("data") if isinstance(value, dict) else None
    return isinstance(articles, list) and all(isinstance(item, dict) and "paragraphs" in item for item in articles)


def squad_dataset(path: str, text: str, value: dict[str, Any], task: DataTask) -> Dataset:
    """Convert the JSON of SQuAD.

    Args:
        path: its file, for messages.
        text: the JSON.
        value: the JSON, parsed.
        task: what the model takes.

    Raises:
        InputError: a part is missing or misaligned, or the model is for another task.
    """
    if task.name != _TASK:
        raise InputError(f"{path} has questions (SQuAD), the model is for {task.name}. Pass data for this task.")
    questions = list(_questions(text, path, value))
    places = Places(path, "question", lambda number: position_in_json(text, questions[number - 1].path))
    examples = [_example(places.at(number), question) for number, question in enumerate(questions, start=1)]
    if not examples:
        raise InputError(f"{path} has no question. Pass a file with questions.")
    version_2 = value.get("version") in _VERSION_2 or any(not example.gold for example in examples)
    return Dataset(places, tuple(examples), version_2=version_2)


class _Question(NamedTuple):
    """A question with its context, as they are in the file, and the keys and indices that lead to it."""

    context: Any
    question: Any
    path: tuple[str | int, ...]


def _questions(text: str, path: str, value: dict[str, Any]) -> Iterator[_Question]:
    at: tuple[str | int, ...] = ("data",)
    try:
        for i, article in enumerate(value["data"]):
            at = ("data", i)
            for j, paragraph in enumerate(article["paragraphs"]):
                at = ("data", i, "paragraphs", j)
                for k, question in enumerate(paragraph["qas"]):
                    yield _Question(paragraph["context"], question, (*at, "qas", k))
    except (KeyError, TypeError) as error:
        place = f"{path}, {position_in_json(text, at)}"
        raise InputError(f"{place} is not SQuAD's JSON: {error!r} in data, paragraphs, qas.") from error


def _example(place: Place, question: _Question) -> Example:
    context, asked, _ = question
    known = asked.get("id", "without id") if isinstance(asked, dict) else short_repr(asked)
    try:
        _check_texts(context, asked)
        return Example((asked["question"], context), _answers(context, asked), place.number)
    except ValueError as error:
        raise InputError(f"{place} ({known}) is malformed: {error}. Correct it.") from error


def _check_texts(context: Any, question: Any) -> None:
    if not isinstance(question, dict):
        raise ValueError("it is not an object with question and answers")
    for name, text in (("question", question.get("question")), ("context", context)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"its {name} is {short_repr(text)}, expected a text")


def _answers(context: str, question: dict[str, Any]) -> tuple[str, ...]:
    answers = question.get("answers")
    if question.get("is_impossible") and answers:
        raise ValueError("it is_impossible, but has answers")
    if question.get("is_impossible") or answers == []:
        return ()
    if not isinstance(answers, list):
        raise ValueError(
            f"its answers are {short_repr(answers)}, expected a list; one without answer has an empty list"
        )
    for answer in answers:
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            raise ValueError(f"answer {short_repr(answer)} is not an object with a text")
        check_start(context, answer)
    return tuple(dict.fromkeys(answer["text"] for answer in answers))


def check_start(context: str, answer: Mapping[str, Any]) -> None:
    """Check that an answer is where it says to be in the context, if it says so.

    Raises:
        ValueError: it is not.
    """
    start, text = answer.get("answer_start"), answer["text"]
    if isinstance(start, int) and context[start : start + len(text)].casefold() != text.casefold():
        found = context[start : start + len(text)]
        raise ValueError(f"answer {text!r} is not at {start}, where the context has {found!r}")
