"""What each task of `client.pipeline()` decodes, of the options of transformers 4.57's pipeline for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bertbundle._shared.validation import check_counts
from bertbundle.contract.types import Arrays, Encoding, Fill
from bertbundle.decoding.activations import sigmoid, softmax
from bertbundle.decoding.decoders import DECODERS, Decoder, by_token, classification
from bertbundle.decoding.loaded_model import Held
from bertbundle.decoding.question_answering import MOST_TOKENS, Spans
from bertbundle.errors import InputError, ServerError
from bertbundle.pipelines.aggregation import STRATEGIES, token_dicts

__all__ = ["DECODER_OF"]

_UNSET: Any = object()


def _tokens(*, aggregation_strategy: str = "none", ignore_labels: Any = ("O",)) -> Decoder:
    strategy = _one_of("aggregation_strategy", aggregation_strategy, STRATEGIES)
    decode = functools.partial(token_dicts, strategy=strategy, ignore_labels=tuple(ignore_labels))
    return replace(DECODERS["token-classification"], outputs=("logits",), fallback=None, decode=decode)


def _one_of(name: str, value: Any, known: Mapping[str, Any]) -> str:
    """Check the name of a choice, in letters of either case."""
    found = str.lower(value) if isinstance(value, str) else value
    if found not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return str(found)


_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid": sigmoid,
    "softmax": softmax,
    "none": lambda logits: logits,
}


def _classes(*, top_k: int | None = _UNSET, function_to_apply: str | None = None) -> Decoder:
    decode = _first_class if top_k is _UNSET else functools.partial(_best_classes, top_k=top_k)
    decoder = DECODERS["text-classification"]
    if function_to_apply is None:
        return replace(decoder, decode=decode)
    apply = _FUNCTIONS[_one_of("function_to_apply", function_to_apply, _FUNCTIONS)]
    logits = ("logits", lambda _, row: {"scores": apply(row["logits"])})
    return replace(decoder, decode=decode, outputs=("logits",), fallback=logits)


def _first_class(held: Held, text: Any, encoding: Encoding, row: Arrays) -> dict[str, Any]:
    return _best_classes(held, text, encoding, row, top_k=1)[0]


def _best_classes(held: Held, text: Any, encoding: Encoding, row: Arrays, *, top_k: int | None) -> list[dict[str, Any]]:
    result = classification(held, text, encoding, row, top_k=top_k)
    return [{"label": label, "score": score} for label, score in result.scores.items()]


def _answers(
    *,
    top_k: int = 1,
    max_answer_len: int = MOST_TOKENS,
    handle_impossible_answer: bool = False,
    align_to_words: bool = True,
) -> Decoder:
    check_counts(max_answer_len=max_answer_len)
    decode = functools.partial(
        _best_answers,
        top_k=top_k,
        most=max_answer_len,
        impossible=handle_impossible_answer,
        whole_words=align_to_words,
    )
    return replace(DECODERS["question-answering"], decode=decode)


def _best_answers(
    held: Held,
    text: Any,
    encoding: Encoding,
    row: Arrays,
    *,
    top_k: int,
    most: int,
    impossible: bool,
    whole_words: bool,
) -> Any:
    """Return the best answers, the only one without a list.

    Source: transformers' QuestionAnsweringPipeline: of the best spans, some more than asked for where they become whole
    words, the scores of those that read the same are added.
    """
    del held
    spans = Spans(text[1], encoding, row)
    found: dict[str, dict[str, Any]] = {}
    for span in spans.best(2 * top_k + 10 if whole_words else top_k, most=most, whole_words=whole_words):
        words = text[1][span.start : span.end]
        answer = found.setdefault(words.lower(), {"score": 0.0, "start": span.start, "end": span.end, "answer": words})
        answer["score"] += span.score
    null = [{"score": spans.null, "start": 0, "end": 0, "answer": ""}] if impossible else []
    best = sorted([*found.values(), *null], key=lambda answer: -answer["score"])[:top_k]
    return best[0] if len(best) == 1 else best


def _masks(*, top_k: int | None = None, targets: Any = None) -> Decoder:
    decoder = DECODERS["fill-mask"]
    wanted = [targets] if isinstance(targets, str) else targets
    if wanted is not None and not wanted:
        raise ValueError("targets must name at least one token")
    choose = (
        functools.partial(_targets, targets=wanted, top_k=top_k) if wanted else functools.partial(_best, top_k=top_k)
    )

    def decode(held: Held, text: Any, encoding: Encoding, row: Arrays) -> Any:
        masks = [
            [_fill_dict(fill) for fill in choose(held, fills)] for fills in decoder.decode(held, text, encoding, row)
        ]
        return masks[0] if len(masks) == 1 else masks

    return replace(decoder, decode=decode)


def _fill_dict(fill: Fill) -> dict[str, Any]:
    return {"score": fill.score, "token": fill.token_id, "token_str": fill.token, "sequence": fill.text}


_MOST_FILLS = 5
"""As transformers' pipeline."""


def _best(held: Held, fills: Sequence[Fill], *, top_k: int | None) -> Sequence[Fill]:
    if top_k is not None and top_k > held.manifest.top_k:
        raise _more_tokens(held, f"top_k is {top_k}")
    return fills[: top_k or _MOST_FILLS]


def _targets(held: Held, fills: Sequence[Fill], *, targets: Sequence[str], top_k: int | None) -> Sequence[Fill]:
    """Return those of the offered tokens that are wanted.

    Raises:
        InputError: one that the bundle did not offer: its score is not known here.
    """
    names = {held.tokenizer.first_token_id(target): target for target in targets}
    missing = [names[token_id] for token_id in names.keys() - {fill.token_id for fill in fills}]
    if missing:
        raise _more_tokens(held, f"targets has {missing[0]!r}")
    return [fill for fill in fills if fill.token_id in names][: top_k or _MOST_FILLS]


def _more_tokens(held: Held, what: str) -> InputError:
    return InputError(
        f"{what}, and the bundle offers its best {held.manifest.top_k} tokens for each mask only. Export it with more: "
        "--top-k, up to the size of the vocabulary."
    )


def _features(*, return_tensors: bool = False) -> Decoder:
    decode = _token_array if return_tensors else lambda *row: _token_array(*row).tolist()
    embedding = DECODERS["feature-extraction"]
    return replace(embedding, outputs=("last_hidden_state",), decode=decode, merge=by_token, gather=list)


def _token_array(held: Held, text: Any, encoding: Encoding, row: Arrays) -> Any:
    """Return one text's vectors as float32 ``[1, tokens, hidden]``, special tokens included."""
    del held, text
    vectors = row["last_hidden_state"]
    if vectors.ndim != 2 or len(vectors) < len(encoding):
        shape = list(vectors.shape)
        raise ServerError(f"the server answered {shape} per text for last_hidden_state of {len(encoding)} tokens.")
    return vectors[None, : len(encoding)].astype(np.float32, copy=False)


DECODER_OF: Mapping[str, Callable[..., Decoder]] = {
    "token-classification": _tokens,
    "text-classification": _classes,
    "question-answering": _answers,
    "fill-mask": _masks,
    "feature-extraction": _features,
}
"""What makes the decoder of each task; its parameters are the options."""
