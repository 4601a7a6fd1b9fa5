"""The decoders of `client.pipeline()`, with the options of the pipelines in transformers 4.57."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bertbundle._shared.validation import check_counts
from bertbundle.contract.types import Arrays, Fill
from bertbundle.decoding.activations import sigmoid, softmax
from bertbundle.decoding.base import DecodeInput, Decoder, Fallback
from bertbundle.decoding.decoders import DECODERS, decode_classification, merge_per_token, too_few_tokens
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.decoding.question_answering import MAX_ANSWER_TOKENS, AnswerSpans
from bertbundle.errors import ServerError
from bertbundle.pipelines.aggregation import STRATEGIES, token_dicts

__all__ = ["DECODER_FACTORIES"]

_UNSET: Any = object()
_BELOW_1 = float(np.nextafter(1.0, 0.0))


def _token_decoder(*, aggregation_strategy: str = "none", ignore_labels: Any = ("O",)) -> Decoder:
    strategy = _one_of("aggregation_strategy", aggregation_strategy, STRATEGIES)
    decode = functools.partial(token_dicts, strategy=strategy, ignore_labels=tuple(ignore_labels))
    labels = DECODERS["token-classification"]
    from_probabilities = Fallback("probabilities", lambda model, row: {"logits": _logits(model, row)})
    return replace(labels, outputs=("logits",), fallbacks=(from_probabilities,), decode=decode, merge=merge_per_token)


def _logits(model: LoadedModel, row: Arrays) -> Any:
    """Return logits of which the softmax, or the sigmoid for independent classes, are the probabilities of a row."""
    probabilities = np.clip(row["probabilities"].astype(np.float64), np.finfo(np.float64).tiny, 1.0)
    return np.log(probabilities) - (np.log1p(-np.minimum(probabilities, _BELOW_1)) if model.manifest.multi_label else 0)


def _one_of(name: str, value: Any, choices: Mapping[str, Any]) -> str:
    """Return an option in lower case.

    Raises:
        ValueError: it is not one of the choices.
    """
    choice = value.lower() if isinstance(value, str) else value
    if choice not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return str(choice)


_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid": sigmoid,
    "softmax": softmax,
    "none": lambda logits: logits,
}


def _class_decoder(*, top_k: int | None = _UNSET, function_to_apply: str | None = None) -> Decoder:
    decode = _first_class if top_k is _UNSET else functools.partial(_best_classes, top_k=top_k)
    decoder = DECODERS["text-classification"]
    if function_to_apply is None:
        return replace(decoder, decode=decode)
    apply = _FUNCTIONS[_one_of("function_to_apply", function_to_apply, _FUNCTIONS)]
    from_logits = Fallback("logits", lambda _, row: {"scores": apply(row["logits"])})
    from_probabilities = Fallback("probabilities", lambda model, row: {"scores": apply(_logits(model, row))})
    return replace(decoder, decode=decode, outputs=("logits",), fallbacks=(from_logits, from_probabilities))


def _first_class(item: DecodeInput) -> dict[str, Any]:
    return _best_classes(item, top_k=1)[0]


def _best_classes(item: DecodeInput, *, top_k: int | None) -> list[dict[str, Any]]:
    result = decode_classification(item, top_k=top_k)
    return [{"label": label, "score": score} for label, score in result.scores.items()]


def _answer_decoder(
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
    item: DecodeInput, *, top_k: int, max_tokens: int, allow_no_answer: bool, whole_words: bool
) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the best answers, or the best answer without a list if there is only one.

    Source: transformers' QuestionAnsweringPipeline. With whole words it computes more spans than requested, and adds up
    the scores of spans with the same text.
    """
    context = item.text[1]
    spans = AnswerSpans(context, item.encoding, item.outputs)
    by_text: dict[str, dict[str, Any]] = {}
    for span in spans.best(2 * top_k + 10 if whole_words else top_k, max_tokens=max_tokens, whole_words=whole_words):
        words = context[span.start : span.end]
        result = by_text.setdefault(
            words.lower(), {"score": 0.0, "start": span.start, "end": span.end, "answer": words}
        )
        result["score"] += span.score
    no_answer = [{"score": spans.null_score, "start": 0, "end": 0, "answer": ""}] if allow_no_answer else []
    best = sorted([*by_text.values(), *no_answer], key=lambda result: -result["score"])[:top_k]
    return best[0] if len(best) == 1 else best


def _mask_decoder(*, top_k: int | None = None, targets: Any = None) -> Decoder:
    decoder = DECODERS["fill-mask"]
    tokens = [targets] if isinstance(targets, str) else targets
    if tokens is not None and not tokens:
        raise ValueError("targets must name at least one token")
    choose = (
        functools.partial(_targets, targets=tokens, top_k=top_k) if tokens else functools.partial(_best, top_k=top_k)
    )

    def decode(item: DecodeInput) -> Any:
        masks = [[_fill_dict(fill) for fill in choose(item.model, fills)] for fills in decoder.decode(item)]
        return masks[0] if len(masks) == 1 else masks

    return replace(decoder, decode=decode)


def _fill_dict(fill: Fill) -> dict[str, Any]:
    return {"score": fill.score, "token": fill.token_id, "token_str": fill.token, "sequence": fill.text}


_DEFAULT_FILLS = 5
"""The default of transformers' pipeline."""


def _best(model: LoadedModel, fills: Sequence[Fill], *, top_k: int | None) -> Sequence[Fill]:
    if top_k is not None and top_k > model.manifest.top_k:
        raise too_few_tokens(model, f"top_k is {top_k}")
    return fills[: top_k or _DEFAULT_FILLS]


def _targets(model: LoadedModel, fills: Sequence[Fill], *, targets: Sequence[str], top_k: int | None) -> Sequence[Fill]:
    """Return the fills of the `targets`.

    Raises:
        InputError: the model did not return one of the targets, so its score is unknown.
    """
    names = {model.tokenizer.first_token_id(target): target for target in targets}
    missing = [names[token_id] for token_id in names.keys() - {fill.token_id for fill in fills}]
    if missing:
        raise too_few_tokens(model, f"targets has {missing[0]!r}")
    return [fill for fill in fills if fill.token_id in names][: top_k or _DEFAULT_FILLS]


def _feature_decoder(*, return_tensors: bool = False) -> Decoder:
    decode = _token_array if return_tensors else lambda item: _token_array(item).tolist()
    embedding = DECODERS["feature-extraction"]
    return replace(embedding, outputs=("last_hidden_state",), decode=decode, merge=merge_per_token, gather=list)


def _token_array(item: DecodeInput) -> Any:
    """Return the vectors of one text as float32 ``[1, tokens, hidden]``, special tokens included."""
    vectors, tokens = item.outputs["last_hidden_state"], len(item.encoding)
    if vectors.ndim != 2 or len(vectors) < tokens:
        shape = list(vectors.shape)
        raise ServerError(f"the server returned last_hidden_state of shape {shape} per text for {tokens} tokens.")
    return vectors[None, :tokens].astype(np.float32, copy=False)


DECODER_FACTORIES: Mapping[str, Callable[..., Decoder]] = {
    "token-classification": _token_decoder,
    "text-classification": _class_decoder,
    "question-answering": _answer_decoder,
    "fill-mask": _mask_decoder,
    "feature-extraction": _feature_decoder,
}
"""The function that creates the decoder of each task; its parameters are the options of the pipeline."""
