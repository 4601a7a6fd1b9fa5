"""`client.pipeline()`: the answers in the shape of the transformers pipelines, key for key."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertbundle.aggregation import STRATEGIES, token_dicts
from bertbundle.errors import ServerError
from bertbundle.flows import Options
from bertbundle.held import Held
from bertbundle.labels import after_marks
from bertbundle.primitives import Arrays, Encoding
from bertbundle.tasks import DECODERS, Decoder, best_spans, by_token, classification, probabilities, whole_words

if TYPE_CHECKING:
    from bertbundle.asking import Asking

__all__ = ["Pipeline"]

_UNSET: Any = object()
_TRUNCATION = {True: "truncate", False: None}
"""What transformers calls ours."""
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
        one_class = self.task == "text-classification" and isinstance(inputs, str) and "top_k" not in options
        options = {**self._options, **options}
        stride, truncation = options.pop("stride", None), options.pop("truncation", None)
        truncation = _TRUNCATION.get(truncation, truncation)
        if question is not None:
            inputs = list(zip(question, context, strict=True)) if isinstance(question, list) else (question, context)
        decoder = self._decoder(**options)
        inputs = [_text(each) for each in inputs] if isinstance(inputs, list) else _text(inputs)
        if one_class:  # its result, too, is in a list, unless this call says how many classes
            decoder = replace(decoder, decode=functools.partial(_listed, decoder.decode))
        return self._asking._ask(decoder, inputs, Options(truncation, stride))  # noqa: SLF001 - its other half

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


def _listed(decode: Callable[..., Any], *row: Any) -> list[Any]:
    return [decode(*row)]


def _first_class(held: Held, text: Any, encoding: Encoding, row: Arrays) -> dict[str, Any]:
    return _best_classes(held, text, encoding, row, top_k=1)[0]


def _best_classes(held: Held, text: Any, encoding: Encoding, row: Arrays, *, top_k: int | None) -> list[dict[str, Any]]:
    result = classification(held, text, encoding, row, top_k=top_k)
    return [{"label": label, "score": score} for label, score in result.scores.items()]


def _answers(*, top_k: int = 1) -> Decoder:
    return replace(DECODERS["question-answering"], decode=functools.partial(_best_answers, top_k=top_k))


def _best_answers(held: Held, text: Any, encoding: Encoding, row: Arrays, *, top_k: int) -> Any:
    """Return the best answers, the only one without a list.

    Source: transformers' QuestionAnsweringPipeline: [CLS] has its share of the probability, and of the best spans the
    scores of those that read the same, on whole words, are added.
    """
    del held
    context = [index for index, side in enumerate(encoding.sequence_ids) if side == 1]
    null = [0] if encoding.sequence_ids[0] is None else []
    starts, ends = (
        probabilities(row[name], encoding, null + context)[len(null) :] for name in ("start_logits", "end_logits")
    )
    found: dict[str, dict[str, Any]] = {}
    for first, last in best_spans(starts, ends, 2 * top_k + 10):
        start, end = whole_words(encoding, context[first], context[last])
        end = after_marks(text[1], end)
        words = text[1][start:end]
        answer = found.setdefault(words.lower(), {"score": 0.0, "start": start, "end": end, "answer": words})
        answer["score"] += float(starts[first] * ends[last])
    best = sorted(found.values(), key=lambda answer: -answer["score"])[:top_k]
    return best[0] if len(best) == 1 else best


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


def _features() -> Decoder:
    embedding = DECODERS["feature-extraction"]
    return replace(embedding, outputs=("last_hidden_state",), decode=_token_vectors, merge=by_token, gather=list)


def _token_vectors(held: Held, text: Any, encoding: Encoding, row: Arrays) -> list[Any]:
    """Return one text's vectors as ``[1, tokens, hidden]``, special tokens included."""
    del held, text
    vectors = row["last_hidden_state"]
    if vectors.ndim != 2 or len(vectors) < len(encoding):
        shape = list(vectors.shape)
        raise ServerError(f"the server answered {shape} per text for last_hidden_state of {len(encoding)} tokens.")
    return [vectors[: len(encoding)].tolist()]


_MADE: Mapping[str, Callable[..., Decoder]] = {
    "token-classification": _tokens,
    "text-classification": _classes,
    "question-answering": _answers,
    "fill-mask": _masks,
    "feature-extraction": _features,
}
"""What makes each task's decoder of the pipeline's options."""
