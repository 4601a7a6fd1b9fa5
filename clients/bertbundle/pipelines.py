"""`client.pipeline()`: the answers in the shape of the transformers pipelines, key for key."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertbundle.aggregation import STRATEGIES, token_dicts
from bertbundle.flows import Options
from bertbundle.held import Held
from bertbundle.primitives import Arrays, Encoding
from bertbundle.tasks import DECODERS, Decoder, classification

if TYPE_CHECKING:
    from bertbundle.asking import Asking

__all__ = ["Pipeline"]

_UNSET: Any = object()
_ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}


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
        if self.task not in _MADE:
            raise ValueError(f"no pipeline for {task!r}, expected one of {', '.join([*_MADE, *_ALIASES])}")
        self._asking = asking
        self._options = options
        self._decoder(**options)

    def __call__(self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any) -> Any:
        """Answer a text, a list or an iterator of texts; question answering takes `question` and `context`.

        Args:
            inputs: the texts; a pair is a tuple, or a dict with `text` and `text_pair`.
            question: as for `Client.answer`.
            context: as for `Client.answer`.
            options: any of the pipeline's own, for this call only.
        """
        options = {**self._options, **options}
        stride, truncation = options.pop("stride", None), options.pop("truncation", None)
        if question is not None:
            inputs = list(zip(question, context, strict=True)) if isinstance(question, list) else (question, context)
        decoder = self._decoder(**options)
        if isinstance(inputs, list):
            inputs = [_text(each) for each in inputs]
        elif self.task == "text-classification" and isinstance(inputs, str) and "top_k" not in options:
            decoder = replace(decoder, decode=lambda *row: [_first_class(*row)])  # one text, too, is a list of one
        return self._asking._ask(decoder, _text(inputs), Options(truncation, stride))  # noqa: SLF001 - its other half

    def _decoder(self, **options: Any) -> Decoder:
        options.pop("stride", None)
        options.pop("truncation", None)
        return _MADE[self.task](**options)


def _text(inputs: Any) -> Any:
    return (inputs["text"], inputs["text_pair"]) if isinstance(inputs, dict) else inputs


def _tokens(*, aggregation_strategy: str = "none", ignore_labels: Any = ("O",)) -> Decoder:
    if aggregation_strategy not in STRATEGIES:
        raise ValueError(f"aggregation_strategy must be one of {', '.join(STRATEGIES)}, got {aggregation_strategy!r}")
    decode = functools.partial(token_dicts, strategy=aggregation_strategy, ignore_labels=tuple(ignore_labels))
    return replace(DECODERS["token-classification"], outputs=("logits",), fallback=None, decode=decode)


def _classes(*, top_k: int | None = _UNSET) -> Decoder:
    decode = _first_class if top_k is _UNSET else functools.partial(_best_classes, top_k=top_k)
    return replace(DECODERS["text-classification"], decode=decode)


def _first_class(held: Held, text: Any, encoding: Encoding, row: Arrays) -> dict[str, Any]:
    return _best_classes(held, text, encoding, row, top_k=1)[0]


def _best_classes(held: Held, text: Any, encoding: Encoding, row: Arrays, *, top_k: int | None) -> list[dict[str, Any]]:
    result = classification(held, text, encoding, row, top_k=top_k)
    return [{"label": label, "score": score} for label, score in result.scores.items()]


def _answers() -> Decoder:
    decoder = DECODERS["question-answering"]

    def decode(*arguments: Any) -> dict[str, Any]:
        answer = decoder.decode(*arguments)
        return {"score": answer.score, "start": answer.start, "end": answer.end, "answer": answer.text}

    return replace(decoder, decode=decode)


def _masks(*, top_k: int = 5) -> Decoder:
    decoder = DECODERS["fill-mask"]

    def decode(*arguments: Any) -> Any:
        masks = [
            [
                {"score": fill.score, "token": fill.token_id, "token_str": fill.token, "sequence": fill.text}
                for fill in fills[:top_k]
            ]
            for fills in decoder.decode(*arguments)
        ]
        return masks[0] if len(masks) == 1 else masks

    return replace(decoder, decode=decode)


_MADE: Mapping[str, Callable[..., Decoder]] = {
    "token-classification": _tokens,
    "text-classification": _classes,
    "question-answering": _answers,
    "fill-mask": _masks,
}
"""What makes each task's decoder of the pipeline's options."""
