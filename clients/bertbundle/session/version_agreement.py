"""Answers of a list of texts all come from one version of the model, also while the servers change to another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bertbundle.contract.types import PredictCall, Prediction
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.decoders import DECODERS
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import InputError, InvalidRequest, ServerError, SignatureNotFound, TextTooLong
from bertbundle.session.batches import AskOptions, decode_answers, make_batches
from bertbundle.session.session import Flow, Session

__all__ = ["TEXTS_PER_CHUNK", "answer_many", "answer_one", "call_until_consistent"]

TEXTS_PER_CHUNK = 2048
"""Texts that are tokenized, sorted by length and kept in memory at a time, of a list or an iterator of any size."""
_MAX_VERSIONS = 3
_MAX_ROUNDS_WITHOUT_PROGRESS = 8  # of two replicas that take turns at random, all 8 are the other one once in 256 times


def answer_one(session: Session, decoder: Decoder, text: Any, options: AskOptions) -> Flow[Any]:
    """Return the result of one text."""
    results = yield from answer_with_one_version(session, decoder, [text], options)
    return results[0]


def answer_many(session: Session, decoder: Decoder, texts: Sequence[Any], options: AskOptions) -> Flow[Any]:
    """Return the results of texts, in order, as the decoder gathers them.

    Raises:
        InputError: there are no texts.
    """
    if not texts:
        raise InputError("the batch is empty. Give at least one text.")
    results = yield from answer_with_one_version(session, decoder, texts, options)
    return decoder.gather(results)


def answer_with_one_version(
    session: Session, decoder: Decoder, texts: Sequence[Any], options: AskOptions
) -> Flow[list[Any]]:
    """Return one result for each text, all from one version; start again if another version takes over.

    Raises:
        InputError: the model is for another task, or a text cannot be answered.
        ServerError: the server refuses a call, or no version answers all calls.
    """
    if not options.is_split_into_words:
        _check_kind(decoder, texts)
    before = session.loaded
    model = before if before and before.manifest.task == decoder.task else (yield from session.load())
    _check_task(session, model, decoder)
    for remaining in reversed(range(_MAX_VERSIONS)):
        try:
            results = yield from try_version(session, model, decoder, texts, options, last_try=not remaining)
            if results is not None:
                return results
            model = yield from session.load_other_version(model)
        except (TextTooLong, InvalidRequest, SignatureNotFound) as error:  # another version may accept it
            refused_by = model
            just_loaded = isinstance(error, TextTooLong) and model is not before
            model = model if just_loaded else (yield from session.load())
            if model.version == refused_by.version:
                raise
        _check_task(session, model, decoder)
    raise ServerError(
        f"the servers of model {session.settings.model!r} answer with different versions, none with all of one batch "
        f"in {_MAX_VERSIONS} attempts. Ask again when the update is through."
    )


def try_version(
    session: Session,
    model: LoadedModel,
    decoder: Decoder,
    texts: Sequence[Any],
    options: AskOptions,
    *,
    last_try: bool,
) -> Flow[list[Any] | None]:
    """Return one result for each text from one version; None as soon as another version is the better choice."""
    results: list[Any] = []
    for start in range(0, len(texts), TEXTS_PER_CHUNK):
        chunk = texts[start : start + TEXTS_PER_CHUNK]
        batches = make_batches(session.settings, model, decoder, chunk, options)
        version = None if session.external else model.version
        answers = yield from call_until_consistent(batches.calls, version, last_try=last_try)
        if answers is None:
            return None
        results += decode_answers(session.settings, model, decoder, batches, answers)
    return results


def call_until_consistent(
    calls: Sequence[PredictCall], version: int | None, *, last_try: bool = False
) -> Flow[list[Prediction] | None]:
    """Make calls, and repeat those that another version answers: during a rolling update replicas differ.

    Args:
        calls: the calls to make.
        version: the version whose answers count; None for any.
        last_try: continue although a newer version has answered as often.

    Returns:
        The answers in the order of the calls, all from `version`. None if that version no longer answers, or if a newer
        one has answered as often and `last_try` is False.
    """
    answers: dict[int, Prediction] = {}
    newer = rounds_without_progress = 0
    while rounds_without_progress < _MAX_ROUNDS_WITHOUT_PROGRESS:
        missing = [index for index in range(len(calls)) if index not in answers]
        if not missing:
            return [answers[index] for index in range(len(calls))]
        received = yield [calls[index] for index in missing]
        accepted = {
            index: answer
            for index, answer in zip(missing, received, strict=True)
            if version is None or answer.version == version
        }
        answers |= accepted
        newer += sum(version is not None and answer.version > version for answer in received)
        rounds_without_progress = 0 if accepted else rounds_without_progress + 1
        if newer >= max(1, len(answers)) and not last_try:
            return None
    return None


def _check_kind(decoder: Decoder, texts: Sequence[Any]) -> None:
    """Refuse pairs where the task takes single texts, and the other way round."""
    kinds = {"pair" if isinstance(text, tuple) else "text" for text in texts}
    wrong = kinds - set(decoder.takes.split(" or "))
    if wrong:
        raise TypeError(f"{decoder.method} takes a {decoder.takes} each, got a {wrong.pop()}; a batch is a list")


def _check_task(session: Session, model: LoadedModel, decoder: Decoder) -> None:
    """Refuse a model for another task, and name the method for it."""
    task = model.manifest.task
    if task == decoder.task:
        return
    right = DECODERS.get(task)
    advice = f"use {right.method}()" if right else "upgrade bertbundle"
    raise InputError(
        f"model {session.settings.model!r} does {task}, {decoder.method}() needs a model for {decoder.task}: {advice}."
    )
