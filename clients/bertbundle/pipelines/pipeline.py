"""`client.pipeline()`: the answers in the shape of the transformers pipelines, key for key."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertbundle._shared.validation import check_counts
from bertbundle.decoding.decoders import Decoder
from bertbundle.pipelines.decoders import DECODER_OF
from bertbundle.session.session import Options

if TYPE_CHECKING:
    from bertbundle.client.base import Asking

__all__ = ["Pipeline"]

_TRUNCATION = {True: "truncate", False: None}
"""What transformers calls ours."""
_ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
_NO_EFFECT = ("batch_size", "num_workers", "padding")
"""Options that change no answer: the client sorts texts into lengths and requests by itself."""
_REFUSED: Mapping[str, str] = {
    "max_length": "the bundle's lengths were chosen when it was exported (--max-length)",
    "max_seq_len": "the bundle's lengths were chosen when it was exported (--max-length)",
    "max_question_len": "a question is never cut: shorten it",
    "offset_mapping": "offsets are those of the text as given",
    "delimiter": "words are joined by single spaces",
    "grouped_entities": "say aggregation_strategy",
    "ignore_subwords": "say aggregation_strategy",
    "return_all_scores": "say top_k=None",
    "topk": "say top_k",
}
"""Options of transformers' pipelines that are not there, and what to do instead."""


class Pipeline:
    """A callable like ``transformers.pipeline(task)``, answered by a server.

    It takes a text, a list or an iterator, and gives dicts with the keys of that pipeline. Long texts are answered
    from windows where a transformers pipeline would cut them without a word.

    >>> client.pipeline("ner", aggregation_strategy="simple")("Wang lives in Berlin")[1]["word"]
    'berlin'
    """

    def __init__(self, asking: Asking, task: str, **options: Any) -> None:
        """Make a pipeline of a client; see `Client.pipeline`."""
        self.task = _ALIASES.get(task, task)
        if self.task not in DECODER_OF:
            raise ValueError(f"no pipeline for {task!r}, expected one of {', '.join([*DECODER_OF, *_ALIASES])}")
        self._asking = asking
        self._given = options
        self._read(options)

    def __call__(self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any) -> Any:
        """Answer a text, a list or an iterator of texts; question answering takes `question` and `context`.

        Args:
            inputs: the texts; a pair is a tuple, or a dict with `text` and `text_pair`, or `question` and `context`.
            question: as for `Client.answer`.
            context: as for `Client.answer`.
            options: any of the pipeline's own, for this call only.

        Raises:
            TypeError: an option that the pipeline does not have.
            ValueError: one that transformers' has and this one has not, or a value that makes no sense.
            InputError: one that this bundle cannot honour.

        >>> reader.pipeline("question-answering")(question="wang", context="lives in Berlin")["answer"]
        'Berlin'
        """
        decoder, asked = self._read({**self._given, **options})
        if question is not None:
            inputs = _pairs(question, context)
        if self.task == "text-classification" and isinstance(inputs, str) and "top_k" not in options:
            decoder = replace(decoder, decode=functools.partial(_listed, decoder.decode))
        return self._asking._ask(decoder, self._texts(inputs, asked), asked)  # noqa: SLF001 - its other half

    def _read(self, options: Mapping[str, Any]) -> tuple[Decoder, Options]:
        """Return what the options say."""
        given = {**options}
        given |= {**(given.pop("tokenizer_kwargs", None) or {}), **(given.pop("tokenize_kwargs", None) or {})}
        given = {name: value for name, value in given.items() if name not in _NO_EFFECT}
        stride = given.pop("stride", given.pop("doc_stride", None))
        truncation = given.pop("truncation", None)
        asked = Options(_TRUNCATION.get(truncation, truncation), stride, bool(given.pop("is_split_into_words", False)))
        _check(given, self.task)
        check_counts(top_k=given.get("top_k"))
        return DECODER_OF[self.task](**given), asked

    def _texts(self, inputs: Any, asked: Options) -> Any:
        """Return inputs as the client takes them; a list of one is that one where transformers' pipeline says so."""
        if isinstance(inputs, Iterator):
            return map(_text, inputs)
        if not isinstance(inputs, list):
            return _text(inputs)
        if asked.split_words:
            return [inputs] if inputs and isinstance(inputs[0], str) else inputs
        texts = [_text(each) for each in inputs]
        return texts[0] if len(texts) == 1 and self.task in _ONE_OF_ONE else texts


_ONE_OF_ONE = ("question-answering", "fill-mask")


def _check(options: Mapping[str, Any], task: str) -> None:
    known = inspect.signature(DECODER_OF[task]).parameters
    for name in options.keys() - known.keys():
        if name in _REFUSED:
            raise ValueError(f"the {task} pipeline has no {name} here: {_REFUSED[name]}.")
        raise TypeError(f"the {task} pipeline has no option {name!r}, expected one of {', '.join(known)}")


def _pairs(question: Any, context: Any) -> Any:
    """Return a pair, or a list of them: of each question with its context, or with the only one."""
    if not isinstance(question, list):
        return question, context
    contexts = context if isinstance(context, list) else [context] * len(question)
    if len(contexts) != len(question):
        raise ValueError(f"{len(question)} questions need as many contexts, or one, got {len(contexts)}")
    return list(zip(question, contexts, strict=True))


_PAIRS = (("text", "text_pair"), ("question", "context"))


def _text(inputs: Any) -> Any:
    """Return a text, or the pair that a dict is."""
    if not isinstance(inputs, dict):
        return inputs
    names = next((names for names in _PAIRS if names[0] in inputs), _PAIRS[0])
    texts = tuple(inputs[name] for name in names if name in inputs)
    if not texts:
        given = ", ".join(map(str, inputs)) or "none"
        raise TypeError(f"a dict needs text (and text_pair), or question and context, got {given}")
    return texts if len(texts) > 1 else texts[0]


def _listed(decode: Any, *row: Any) -> list[Any]:
    """Put the result of one text into a list, as transformers' pipeline does unless the call says how many."""
    return [decode(*row)]
