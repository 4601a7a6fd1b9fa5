"""Read questions with their contexts and answers from the JSON of SQuAD 1.1 or 2.0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bertbundle._shared.validation import short_repr
from bertbundle.data.examples import Dataset, DataTask, Example
from bertbundle.errors import InputError

__all__ = ["looks_like_squad", "squad_dataset"]

_TASK = "question-answering"
_VERSION_2 = ("v2.0", "2.0")


def looks_like_squad(value: object) -> bool:
    """Return whether a JSON value has the outer form of SQuAD: an object with a list `data` of paragraphs."""
    articles = value.get("data") if isinstance(value, dict) else None
    return isinstance(articles, list) and all(isinstance(item, dict) and "paragraphs" in item for item in articles)


def squad_dataset(path: str, value: dict[str, Any], task: DataTask) -> Dataset:
    """Convert the JSON of SQuAD.

    Args:
        path: its file, for messages.
        value: the parsed JSON.
        task: what the model takes.

    Raises:
        InputError: a part is missing or misaligned, or the model is for another task.
    """
    if task.name != _TASK:
        raise InputError(f"{path} has questions (SQuAD), the model is for {task.name}. Pass data for this task.")
    examples = [
        _example(path, number, context, question)
        for number, (context, question) in enumerate(_questions(path, value), start=1)
    ]
    if not examples:
        raise InputError(f"{path} has no question. Pass a file with questions.")
    version_2 = value.get("version") in _VERSION_2 or any(not example.gold for example in examples)
    return Dataset(path, tuple(examples), version_2=version_2, place="question")


def _questions(path: str, value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for article in value["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield paragraph["context"], question
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not SQuAD's JSON: {error!r} in data, paragraphs, qas.") from error


def _example(path: str, number: int, context: Any, question: Any) -> Example:
    known = question.get("id", "without id") if isinstance(question, dict) else short_repr(question)
    try:
        _check_texts(context, question)
        return Example((question["question"], context), _answers(context, question), number)
    except ValueError as error:
        raise InputError(f"{path}, question {number} ({known}) is malformed: {error}. Correct it.") from error


def _check_texts(context: Any, question: Any) -> None:
    if not isinstance(question, dict):
        raise ValueError("it is not an object with question and answers")
    for name, text in (("question", question.get("question")), ("context", context)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"its {name} is {short_repr(text)}, expected a text")


def _answers(context: str, question: dict[str, Any]) -> tuple[str, ...]:
    answers = question.get("answers")
    if question.get("is_impossible") or answers == []:
        return ()
    if not isinstance(answers, list):
        raise ValueError(
            f"its answers are {short_repr(answers)}, expected a list; one without answer has an empty list"
        )
    for answer in answers:
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            raise ValueError(f"answer {short_repr(answer)} is not an object with a text")
        _check_start(context, answer)
    return tuple(dict.fromkeys(answer["text"] for answer in answers))


def _check_start(context: str, answer: dict[str, Any]) -> None:
    start, text = answer.get("answer_start"), answer["text"]
    if isinstance(start, int) and context[start : start + len(text)].casefold() != text.casefold():
        found = context[start : start + len(text)]
        raise ValueError(f"answer {text!r} is not at {start}, where the context has {found!r}")
