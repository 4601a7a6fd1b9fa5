"""The decoders of `client.pipeline()`, made from the options of transformers 4.57's pipeline for each task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bertbundle._shared.validation import check_counts
from bertbundle.contract.types import Fill
from bertbundle.decoding.activations import sigmoid, softmax
from bertbundle.decoding.base import DecodeInput, Decoder, Fallback
from bertbundle.decoding.decoders import DECODERS, decode_classification, merge_per_token
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.decoding.question_answering import MAX_ANSWER_TOKENS, AnswerSpans
from bertbundle.errors import InputError, ServerError
from bertbundle.pipelines.aggregation import STRATEGIES, token_dicts

__all__ = ["DECODER_FACTORIES"]

_UNSET: Any = object()


def _tokens(*, aggregation_strategy: str = "none", ignore_labels: Any = ("O",)) -> Decoder:
    strategy = _one_of("aggregation_strategy", aggregation_strategy, STRATEGIES)
    decode = functools.partial(token_dicts, strategy=strategy, ignore_labels=tuple(ignore_labels))
    labels = DECODERS["token-classification"]
    return replace(labels, outputs=("logits",), fallback=None, decode=decode, merge=merge_per_token)


def _one_of(name: str, value: Any, choices: Mapping[str, Any]) -> str:
    """Check that an option is one of some choices, ignoring case; return it in lower case."""
    choice = value.lower() if isinstance(value, str) else value
    if choice not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return str(choice)


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
    from_logits = Fallback("logits", lambda _, row: {"scores": apply(row["logits"])})
    return replace(decoder, decode=decode, outputs=("logits",), fallback=from_logits)


def _first_class(answer: DecodeInput) -> dict[str, Any]:
    return _best_classes(answer, top_k=1)[0]


def _best_classes(answer: DecodeInput, *, top_k: int | None) -> list[dict[str, Any]]:
    result = decode_classification(answer, top_k=top_k)
    return [{"label": label, "score": score} for label, score in result.scores.items()]


def _answers(
    *,
    top_k: int = 1,
    max_answer_len: int = MAX_ANSWER_TOKENS,
    handle_impossible_answer: bool = False,
    align_to_words: bool = True,
) -> Decoder:
    check_counts(max_answer_len=max_answer_len)
    decode = functools.partial(
        _best_answers,
        top_k=top_k,
        max_tokens=max_answer_len,
        allow_no_answer=handle_impossible_answer,
        whole_words=align_to_words,
    )
    return replace(DECODERS["question-answering"], decode=decode)


def _best_answers(
    answer: DecodeInput, *, top_k: int, max_tokens: int, allow_no_answer: bool, whole_words: bool
) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the best answers; a single one without a list.

    Source: transformers' QuestionAnsweringPipeline. With whole words it takes more spans than requested, and adds
    up the scores of those with the same text.
    """
    context = answer.text[1]
    spans = AnswerSpans(context, answer.encoding, answer.outputs)
    by_text: dict[str, dict[str, Any]] = {}
    for span in spans.best(2 * top_k + 10 if whole_words else top_k, max_tokens=max_tokens, whole_words=whole_words):
        words = context[span.start : span.end]
        result = by_text.setdefault(
            words.lower(), {"score": 0.0, "start": span.start, "end": span.end, "answer": words}
        )
        result["score"] += span.score
    no_answer = [{"score": spans.null, "start": 0, "end": 0, "answer": ""}] if allow_no_answer else []
    best = sorted([*by_text.values(), *no_answer], key=lambda result: -result["score"])[:top_k]
    return best[0] if len(best) == 1 else best


def _masks(*, top_k: int | None = None, targets: Any = None) -> Decoder:
    decoder = DECODERS["fill-mask"]
    wanted = [targets] if isinstance(targets, str) else targets
    if wanted is not None and not wanted:
        raise ValueError("targets must name at least one token")
    choose = (
        functools.partial(_targets, targets=wanted, top_k=top_k) if wanted else functools.partial(_best, top_k=top_k)
    )

    def decode(answer: DecodeInput) -> Any:
        masks = [[_fill_dict(fill) for fill in choose(answer.model, fills)] for fills in decoder.decode(answer)]
        return masks[0] if len(masks) == 1 else masks

    return replace(decoder, decode=decode)


def _fill_dict(fill: Fill) -> dict[str, Any]:
    return {"score": fill.score, "token": fill.token_id, "token_str": fill.token, "sequence": fill.text}


_DEFAULT_FILLS = 5
"""The default of transformers' pipeline."""


def _best(model: LoadedModel, fills: Sequence[Fill], *, top_k: int | None) -> Sequence[Fill]:
    if top_k is not None and top_k > model.manifest.top_k:
        raise _more_tokens(model, f"top_k is {top_k}")
    return fills[: top_k or _DEFAULT_FILLS]


def _targets(model: LoadedModel, fills: Sequence[Fill], *, targets: Sequence[str], top_k: int | None) -> Sequence[Fill]:
    """Return the fills whose tokens are among `targets`.

    Raises:
        InputError: the bundle did not return one of the targets, so its score is unknown.
    """
    names = {model.tokenizer.first_token_id(target): target for target in targets}
    missing = [names[token_id] for token_id in names.keys() - {fill.token_id for fill in fills}]
    if missing:
        raise _more_tokens(model, f"targets has {missing[0]!r}")
    return [fill for fill in fills if fill.token_id in names][: top_k or _DEFAULT_FILLS]


def _more_tokens(model: LoadedModel, what: str) -> InputError:
    return InputError(
        f"{what}, and the bundle offers its best {model.manifest.top_k} tokens for each mask only. Export it with "
        "more: --top-k, up to the size of the vocabulary."
    )


def _features(*, return_tensors: bool = False) -> Decoder:
    decode = _token_array if return_tensors else lambda answer: _token_array(answer).tolist()
    embedding = DECODERS["feature-extraction"]
    return replace(embedding, outputs=("last_hidden_state",), decode=decode, merge=merge_per_token, gather=list)


def _token_array(answer: DecodeInput) -> Any:
    """Return the vectors of one text as float32 ``[1, tokens, hidden]``, special tokens included."""
    vectors, tokens = answer.outputs["last_hidden_state"], len(answer.encoding)
    if vectors.ndim != 2 or len(vectors) < tokens:
        shape = list(vectors.shape)
        raise ServerError(f"the server answered {shape} per text for last_hidden_state of {tokens} tokens.")
    return vectors[None, :tokens].astype(np.float32, copy=False)


DECODER_FACTORIES: Mapping[str, Callable[..., Decoder]] = {
    "token-classification": _tokens,
    "text-classification": _classes,
    "question-answering": _answers,
    "fill-mask": _masks,
    "feature-extraction": _features,
}
"""By task, the function that makes its decoder; its parameters are the options of the pipeline."""
