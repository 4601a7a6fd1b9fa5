"""Ask a served model about the texts of a data file, and keep what the tokenizer made of each text."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertbundle.client.sync_client import Client
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Entity
from bertbundle.data.examples import Dataset, DataTask, Example
from bertbundle.data.tags import SCHEMES, strict_spans
from bertbundle.decoding.base import DecodeInput, Decoder
from bertbundle.decoding.decoders import DECODERS, DEFAULT_THRESHOLD, answer_decoder, classification_decoder
from bertbundle.decoding.entities import join_units, labelled_units
from bertbundle.errors import InputError, ServerError
from bertbundle.session.batches import AskOptions
from bertbundle.session.version_agreement import WrongKindOfText

__all__ = ["Observation", "ObserveOptions", "check_manifest", "observe"]

_TEXTS_PER_CALL = 64
"""Each call has a timeout of its own, so a file may have any number of texts."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A model's result for one text.

    Attributes:
        result: as the client's method returns it: entities, a `Classification`, a float, a vector, an `Answer` or the
            fills of each mask; for a pair of texts with embeddings, their cosine similarity.
        version: the model version that answered.
        lengths: number of tokens, including special tokens, before the text was truncated or split into windows; two
            numbers for a pair with embeddings.
        unknown: number of these tokens that are not in the vocabulary.
        too_long: whether the text has more tokens than the model accepts.
    """

    result: Any
    version: int
    lengths: tuple[int, ...]
    unknown: int
    too_long: bool


@dataclass(frozen=True, slots=True)
class ObserveOptions:
    """How to ask.

    Attributes:
        truncation: see `BaseClient.entities`; unlike there, "window" is the default of every task.
        head: which of several heads answers.
        strict: whether labels that the model's label scheme does not allow form no entity, as in seqeval's strict mode.
            Otherwise they are decoded as by the client.
        threshold: see `BaseClient.classify`.
        progress: called with the number of texts answered so far.
    """

    truncation: str = "window"
    head: str | None = None
    strict: bool = False
    threshold: float = DEFAULT_THRESHOLD
    progress: Callable[[int], None] = lambda _: None


def observe(client: Client, task: DataTask, dataset: Dataset, options: ObserveOptions) -> list[Observation]:
    """Return the model's result for each text of a dataset.

    Raises:
        InputError: a text is invalid; the message has its file and line. Or the threshold has no effect.
        ServerError: the server failed, or another version of the model took over.
    """
    if options.threshold != DEFAULT_THRESHOLD and not task.multi_label:
        raise InputError(f"--threshold has no effect: the model for {task.name} is not multi-label. Omit it.")
    decoder = _decoder(task, dataset, options)
    pairs = task.name == "feature-extraction" and isinstance(dataset.examples[0].text, tuple)
    ask = functools.partial(_ask, client, decoder, dataset, options)
    observations: list[Observation] = []
    for start in range(0, len(dataset.examples), _TEXTS_PER_CALL):
        chunk = dataset.examples[start : start + _TEXTS_PER_CALL]
        observations += _ask_pairs(ask, chunk) if pairs else ask(chunk, [example.text for example in chunk])
        _check_version(observations)
        options.progress(len(observations))
    return observations


def _ask(
    client: Client,
    decoder: Decoder,
    dataset: Dataset,
    options: ObserveOptions,
    examples: Sequence[Example],
    texts: list[Any],
) -> list[Observation]:
    ask_options = AskOptions(
        options.truncation,
        is_split_into_words=dataset.is_split_into_words,
        head=options.head,
        keep_errors=True,
    )
    try:
        results = client.ask(decoder, texts, ask_options)
    except WrongKindOfText as error:
        raise InputError(f"{dataset.where(examples[0])}: {error}.") from error
    for example, result in zip(examples, results, strict=True):
        if isinstance(result, InputError):
            raise InputError(f"{dataset.where(example)}: {re.sub(r'^text [0-9]+ ', 'the text ', str(result))}")
    return list(results)


def _ask_pairs(ask: Callable[..., list[Observation]], examples: Sequence[Example]) -> list[Observation]:
    """Return the cosine similarity of the embeddings of each pair."""
    first, second = (ask(examples, [example.text[index] for example in examples]) for index in (0, 1))
    return [_similarity(*pair) for pair in zip(first, second, strict=True)]


def _similarity(one: Observation, other: Observation) -> Observation:
    vectors = [np.asarray(item.result, np.float64) for item in (one, other)]
    norms = float(np.linalg.norm(vectors[0]) * np.linalg.norm(vectors[1]))
    return Observation(
        float(vectors[0] @ vectors[1]) / max(norms, 1e-12),
        other.version,
        one.lengths + other.lengths,
        one.unknown + other.unknown,
        one.too_long or other.too_long,
    )


def _check_version(observations: Sequence[Observation]) -> None:
    versions = {observation.version for observation in observations}
    if len(versions) > 1:
        found = " and ".join(map(str, sorted(versions)))
        raise ServerError(f"versions {found} of the model answered, because it was updated meanwhile. Start again.")


def check_manifest(client: Client, manifest: Manifest) -> None:
    """Check that the model that answered is the one that the data was read for, and that the report describes.

    Raises:
        ServerError: another version took over before the first answer, and has another manifest.
    """
    if client.manifest() != manifest:
        raise ServerError(f"model {manifest.name!r} was updated meanwhile. Start again.")


# ---- decoders


def _decoder(task: DataTask, dataset: Dataset, options: ObserveOptions) -> Decoder:
    """Return the task's decoder, whose results are observations."""
    decoders = {
        "text-classification": lambda: classification_decoder(threshold=options.threshold),
        "question-answering": lambda: answer_decoder(handle_impossible_answer=dataset.version_2),
    }
    decoder = decoders.get(task.name, lambda: DECODERS[task.name])()
    decode = _decode_strictly if options.strict and task.name == "token-classification" else decoder.decode
    observing = functools.partial(_observe, decode=decode, truncation=options.truncation)
    return replace(decoder, decode=observing, gather=list)


def _observe(item: DecodeInput, *, decode: Callable[[DecodeInput], Any], truncation: str) -> Observation:
    model, encoding = item.model, item.encoding
    whole = encoding
    if truncation == "truncate" and len(encoding) == model.tokenizer.max_length:  # it may have been truncated
        whole = model.tokenizer.encode([item.text], truncation="window")[0]
    unknown, length = whole.tokens.count(model.tokenizer.unknown_token or ""), len(whole)
    return Observation(decode(item), model.version, (length,), unknown, length > model.tokenizer.max_length)


def _decode_strictly(item: DecodeInput) -> list[Entity]:
    """Return the entities of the labels that follow the model's label scheme."""
    units = labelled_units(item)
    scheme = item.model.manifest.label_scheme
    spans = strict_spans([unit.tag for unit in units], scheme if scheme in SCHEMES else "IO")
    return [join_units(str(item.text), units[first:end]) for _, first, end in spans]
