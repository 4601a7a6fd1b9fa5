"""`client.pipeline()`: a drop-in replacement for the transformers pipelines."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertbundle._shared.validation import check_counts
from bertbundle.contract.heads import MULTI_TASK
from bertbundle.decoding.base import DecodeInput, Decoder
from bertbundle.pipelines.decoders import DECODER_FACTORIES
from bertbundle.session.batches import AskOptions

if TYPE_CHECKING:
    from bertbundle.client.base import BaseClient

__all__ = ["Pipeline"]

_TRUNCATION = {True: "truncate", False: None}
"""The client's `truncation` for each value of transformers' `truncation`."""
_ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
_NO_EFFECT = ("batch_size", "num_workers", "padding")
"""Options that do not change the results: the client itself groups texts into requests."""
_UNSUPPORTED: Mapping[str, str] = {
    "max_length": "the bundle's lengths were chosen when it was exported (--max-length)",
    "max_seq_len": "the bundle's lengths were chosen when it was exported (--max-length)",
    "max_question_len": "a question is never truncated: shorten it",
    "offset_mapping": "offsets always refer to the original text",
    "delimiter": "words are always joined by single spaces",
    "grouped_entities": "use aggregation_strategy",
    "ignore_subwords": "use aggregation_strategy",
    "return_all_scores": "use top_k=None",
    "topk": "use top_k",
}
"""Options of transformers' pipelines that are not supported, and what to do instead."""


class Pipeline:
    """A callable like ``transformers.pipeline(task)`` that uses a served model.

    It takes a text, a list or an iterator, and returns dicts with the keys of that pipeline. Where a transformers
    pipeline would truncate a long text silently, it is split into windows.

    >>> client.pipeline("ner", aggregation_strategy="simple")("Wang lives in Berlin")[1]["word"]
    'berlin'
    """

    def __init__(self, client: BaseClient[Any], task: str, **options: Any) -> None:
        """Create a pipeline over a client; see `Client.pipeline`."""
        self.task = _ALIASES.get(task, task)
        if self.task == MULTI_TASK:
            raise ValueError("the model has several heads: name the task, such as pipeline('ner'), and head= if needed")
        if self.task not in DECODER_FACTORIES:
            raise ValueError(f"no pipeline for {task!r}, expected one of {', '.join([*DECODER_FACTORIES, *_ALIASES])}")
        self._client = client
        self._options = options
        self._read_options(options)

    def __call__(self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any) -> Any:
        """Return the results of a text, a list or an iterator; question answering takes `question` and `context`.

        Args:
            inputs: the texts. A pair is a tuple, or a dict with `text` and `text_pair` or `question` and `context`.
            question: as for `Client.answer`.
            context: as for `Client.answer`.
            options: options of the pipeline for this call only; see `Client.pipeline`.

        Raises:
            TypeError: the pipeline has no such option.
            ValueError: an option of transformers' pipeline is not supported, or has an invalid value.
            InputError: the bundle does not support an option.

        >>> reader.pipeline("question-answering")(question="wang", context="lives in Berlin")["answer"]
        'Berlin'
        """
        decoder, ask_options = self._read_options({**self._options, **options})
        if question is not None:
            inputs = _pairs(question, context)
        if self.task == "text-classification" and isinstance(inputs, str) and "top_k" not in options:
            decoder = replace(decoder, decode=functools.partial(_in_list, decoder.decode))
        return self._client.ask(decoder, self._texts(inputs, ask_options), ask_options)

    def _read_options(self, options: Mapping[str, Any]) -> tuple[Decoder, AskOptions]:
        """Split the options into those of the decoder and those of the client."""
        rest = {**options}
        rest |= {**(rest.pop("tokenizer_kwargs", None) or {}), **(rest.pop("tokenize_kwargs", None) or {})}
        rest = {name: value for name, value in rest.items() if name not in _NO_EFFECT}
        stride = rest.pop("stride", rest.pop("doc_stride", None))
        truncation = rest.pop("truncation", None)
        split_words = bool(rest.pop("is_split_into_words", False))
        head = rest.pop("head", None)
        _check_options(rest, self.task)
        check_counts(top_k=rest.get("top_k"))
        decoder = DECODER_FACTORIES[self.task](**rest)
        return decoder, AskOptions(_TRUNCATION.get(truncation, truncation), stride, split_words, head)

    def _texts(self, inputs: Any, options: AskOptions) -> Any:
        """Convert inputs to arguments of the client; unwrap a list of one text if transformers' pipeline does so."""
        if isinstance(inputs, Iterator):
            return map(_text, inputs)
        if not isinstance(inputs, list):
            return _text(inputs)
        if options.is_split_into_words:
            return [inputs] if inputs and isinstance(inputs[0], str) else inputs
        texts = [_text(text) for text in inputs]
        return texts[0] if len(texts) == 1 and self.task in _UNWRAP_LIST_OF_ONE else texts


_UNWRAP_LIST_OF_ONE = ("question-answering", "fill-mask")


def _check_options(options: Mapping[str, Any], task: str) -> None:
    supported = inspect.signature(DECODER_FACTORIES[task]).parameters
    for name in options.keys() - supported.keys():
        if name in _UNSUPPORTED:
            raise ValueError(f"the {task} pipeline does not support {name}: {_UNSUPPORTED[name]}.")
        raise TypeError(f"the {task} pipeline has no option {name!r}, expected one of {', '.join(supported)}")


def _pairs(question: Any, context: Any) -> Any:
    """Return a question and its context as a pair, or a list of pairs for a list of questions."""
    if not isinstance(question, list):
        return question, context
    contexts = context if isinstance(context, list) else [context] * len(question)
    if len(contexts) != len(question):
        raise ValueError(f"{len(question)} questions need the same number of contexts, or one, got {len(contexts)}")
    return list(zip(question, contexts, strict=True))


_PAIRS = (("text", "text_pair"), ("question", "context"))


def _text(inputs: Any) -> Any:
    """Return the text or the pair of a dict; return other inputs unchanged."""
    if not isinstance(inputs, dict):
        return inputs
    names = next((names for names in _PAIRS if names[0] in inputs), _PAIRS[0])
    texts = tuple(inputs[name] for name in names if name in inputs)
    if not texts:
        given = ", ".join(map(str, inputs)) or "none"
        raise TypeError(f"a dict needs text (and text_pair), or question and context, got {given}")
    return texts if len(texts) > 1 else texts[0]


def _in_list(decode: Callable[[DecodeInput], Any], answer: DecodeInput) -> list[Any]:
    """Put the result of one text into a list, as transformers' pipeline does unless the call passes `top_k`."""
    return [decode(answer)]
