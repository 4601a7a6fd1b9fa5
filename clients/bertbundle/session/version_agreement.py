"""Answer all texts of a list with one version of the model, even during a rolling update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bertbundle.contract.types import PredictCall, Prediction
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.decoders import DECODERS
from bertbundle.decoding.heads import fit_heads
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import InputError, InvalidRequest, ServerError, SignatureNotFound, TextTooLong
from bertbundle.session.batches import AskOptions, decode_predictions, make_batches
from bertbundle.session.session import Flow, Session

__all__ = ["TEXTS_PER_CHUNK", "WrongKindOfText", "answer_many", "answer_one", "answer_with_one_version"]

TEXTS_PER_CHUNK = 2048
"""Number of texts of a list or an iterator that are tokenized, grouped by length and kept in memory at a time."""
_MAX_VERSIONS = 3
_MAX_ROUNDS_WITHOUT_PROGRESS = 8  # with two replicas, the other one answers all 8 rounds by chance once in 256 times


class WrongKindOfText(TypeError):
    """A pair for a task that takes single texts, or the reverse."""


def answer_one(session: Session, decoder: Decoder, text: Any, options: AskOptions) -> Flow[Any]:
    """Return the result of one text."""
    _, results = yield from answer_with_one_version(session, decoder, [text], options)
    return results[0]


def answer_many(session: Session, decoder: Decoder, texts: Sequence[Any], options: AskOptions) -> Flow[Any]:
    """Return the results of texts, in order, combined by the decoder's `gather`.

    Raises:
        InputError: there are no texts.
    """
    if not texts:
        raise InputError("the batch is empty. Pass at least one text.")
    _, results = yield from answer_with_one_version(session, decoder, texts, options)
    return decoder.gather(results)


def answer_with_one_version(
    session: Session, decoder: Decoder, texts: Sequence[Any], options: AskOptions
) -> Flow[tuple[int, list[Any]]]:
    """Return a version, and its result of each text; start again if another version takes over.

    Raises:
        InputError: the model is for another task, or a text is invalid.
        ServerError: the server rejects a call, or no version answers all calls.
    """
    if not options.is_split_into_words:
        _check_pairs(decoder, texts)
    loaded_before = session.loaded
    model = loaded_before
    if model is None or _find_view(model, decoder, options.head) is None:
        model = yield from session.load()
    for remaining in reversed(range(_MAX_VERSIONS)):
        fitted, view = _resolve(session, model, decoder, options)
        if fitted is not decoder:
            _check_pairs(fitted, texts)
        try:
            results = yield from try_version(session, view, fitted, texts, options, last_try=not remaining)
            if results is not None:
                return model.version, results
            model = yield from session.load_other_version(model)
        except (TextTooLong, InvalidRequest, SignatureNotFound) as error:  # another version may accept the texts
            rejected_by = model
            just_loaded = model is not loaded_before
            if not (just_loaded and isinstance(error, TextTooLong)):
                model = yield from session.load()
            if model.version == rejected_by.version:
                raise
    raise ServerError(
        f"the servers of model {session.settings.model!r} answer with different versions: in {_MAX_VERSIONS} attempts "
        "no version answered all requests of the batch. Retry when the rolling update is complete."
    )


def decoder_of(model: LoadedModel, decoder: Decoder) -> Decoder:
    """Return the decoder of the model's task if `decoder` is the default of a method that answers several tasks.

    `entities` answers token classification and span classification.
    """
    own = DECODERS.get(model.manifest.task, decoder)
    return own if own.method == decoder.method and decoder is DECODERS.get(decoder.task) else decoder


def try_version(
    session: Session,
    model: LoadedModel,
    decoder: Decoder,
    texts: Sequence[Any],
    options: AskOptions,
    *,
    last_try: bool,
) -> Flow[list[Any] | None]:
    """Return the result of each text from one version, or None as soon as another version should be used."""
    results: list[Any] = []
    for start in range(0, len(texts), TEXTS_PER_CHUNK):
        chunk = texts[start : start + TEXTS_PER_CHUNK]
        batches = make_batches(session.settings, model, decoder, chunk, options)
        version = None if session.external else model.version
        predictions = yield from call_until_consistent(batches.calls, version, last_try=last_try)
        if predictions is None:
            return None
        results += decode_predictions(session.settings, model, decoder, batches, predictions)
    return results


def call_until_consistent(
    calls: Sequence[PredictCall], version: int | None, *, last_try: bool = False
) -> Flow[list[Prediction] | None]:
    """Make calls, and repeat those that another version answered, as happens during a rolling update.

    Args:
        calls: the calls to make.
        version: the version whose predictions are accepted; None for any.
        last_try: continue even if a newer version has answered as many calls.

    Returns:
        The predictions of `version`, in the order of the calls. None if that version no longer answers, or if a newer
        version has answered as many calls and `last_try` is False.
    """
    predictions: dict[int, Prediction] = {}
    newer = rounds_without_progress = 0
    while rounds_without_progress < _MAX_ROUNDS_WITHOUT_PROGRESS:
        missing = [index for index in range(len(calls)) if index not in predictions]
        if not missing:
            return [predictions[index] for index in range(len(calls))]
        received = yield [calls[index] for index in missing]
        accepted = {
            index: prediction
            for index, prediction in zip(missing, received, strict=True)
            if version is None or prediction.version == version
        }
        predictions |= accepted
        newer += sum(version is not None and prediction.version > version for prediction in received)
        rounds_without_progress = 0 if accepted else rounds_without_progress + 1
        if newer >= max(1, len(predictions)) and not last_try:
            return None
    return None


def _check_pairs(decoder: Decoder, texts: Sequence[Any]) -> None:
    """Raise WrongKindOfText for a pair if the task takes single texts, and for a single text if it takes pairs."""
    kinds = {"pair" if isinstance(text, tuple) else "text" for text in texts}
    wrong = kinds - set(decoder.takes.split(" or "))
    if wrong:
        kind = decoder.takes
        message = f"{decoder.method}() takes a {kind} or a list or an iterator of {kind}s, got a {wrong.pop()}"
        raise WrongKindOfText(message)


def _resolve(
    session: Session, model: LoadedModel, decoder: Decoder, options: AskOptions
) -> tuple[Decoder, LoadedModel]:
    """Return what answers a method: its decoder, fitted to the model, and the model or one of its heads.

    Raises:
        InputError: the model is for another task, or it is unclear which of its heads is meant.
    """
    view = _find_view(model, decoder, options.head)
    if view is None:
        raise InputError(f"model {session.settings.model!r} {_explain(model, decoder, options.head)}.")
    unknown = [head.manifest.task for head in view.heads.values() if head.manifest.task not in DECODERS]
    if unknown:
        raise InputError(f"model {session.settings.model!r} has a head for {unknown[0]}: upgrade bertbundle.")
    return (fit_heads(decoder, view, DECODERS) if view.heads else decoder_of(view, decoder)), view


def _find_view(model: LoadedModel, decoder: Decoder, head: str | None) -> LoadedModel | None:
    """Return the model, or the head of it, that answers a method; None if there is none, or if there are several."""
    if head is None and _answers(model, decoder):
        return model
    views = [view for name, view in model.heads.items() if head in (None, name) and _answers(view, decoder)]
    return views[0] if len(views) == 1 else None


def _answers(view: LoadedModel, decoder: Decoder) -> bool:
    return view.manifest.task == decoder_of(view, decoder).task


def _explain(model: LoadedModel, decoder: Decoder, head: str | None) -> str:
    """Return why a model does not answer a method, and what to do instead."""
    heads = ", ".join(f"{name} ({view.manifest.task})" for name, view in model.heads.items())
    fitting = [name for name, view in model.heads.items() if _answers(view, decoder)]
    if head is not None and not heads:
        return f"has one head, for {model.manifest.task}: omit head"
    if head is not None and head not in tuple(model.heads):  # a list has no hash
        return f"has no head {head!r}, its heads are {heads}"
    if head is None and len(fitting) > 1:
        return f"has the heads {heads}: choose one with head={fitting[0]!r}, or call heads() for all"
    task = model.heads[head].manifest.task if head is not None else model.manifest.task
    right_decoder = DECODERS.get(task)
    advice = f"use {right_decoder.method}()" if right_decoder else "upgrade bertbundle"
    subject = f"has the head {head!r} for {task}" if head is not None else f"is for {task}"
    found = f", with the heads {heads}" if heads and head is None else ""
    # With the right method, it is a pipeline's decoder: a pipeline's results have no form for nested entities.
    is_pipeline = right_decoder is not None and right_decoder.method == decoder.method
    caller = "the pipeline" if is_pipeline else f"{decoder.method}()"
    return f"{subject}{found}, {caller} needs a model for {decoder.task}: {advice}"
