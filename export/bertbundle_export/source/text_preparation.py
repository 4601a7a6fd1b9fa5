"""What sentence-transformers does with a text in front of the tokenizer, put into the tokenizer."""

from __future__ import annotations

import json
from typing import Any

import tokenizers
from tokenizers import Regex, normalizers

from bertbundle.text.added_tokens import own_tokens
from bertbundle_export.errors import CheckpointError

__all__ = ["add_prompt", "lowercase_texts"]

_PROMPT = "prompt"
_BEGINNINGS = ("a", "1", "的", "é")  # of texts that a prompt must not grow together with
# str.lower makes a final sigma where Unicode's condition Final_Sigma holds. A look-behind needs fixed lengths, so it
# skips at most four characters such as apostrophes.
_IGNORED = r"\p{Case_Ignorable}"
_CASED = rf"[\p{{Cased}}&&[^{_IGNORED}]]"
_BEFORE = "|".join(_CASED + _IGNORED * count for count in range(5))
_FINAL_SIGMA = rf"(?<={_BEFORE})Σ(?!{_IGNORED}*{_CASED})"


def lowercase_texts(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a copy that lower-cases texts first, as `do_lower_case` of sentence_bert_config.json does.

    Raises:
        CheckpointError: it has added tokens, which it would look for in the text as it was.
    """
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()} - own_tokens(tokenizer)
    if added:
        raise CheckpointError(
            f"sentence_bert_config.json has do_lower_case true, and the tokenizer has the added tokens "
            f"{', '.join(sorted(added))}: they would be found before texts are lower-cased, and not after. Remove the "
            "setting if the model was trained without it."
        )
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    own = [copy.normalizer] if copy.normalizer else []
    sigma = normalizers.Replace(Regex(_FINAL_SIGMA), "ς")
    copy.normalizer = normalizers.Sequence([sigma, normalizers.Lowercase(), *own])
    return copy


def add_prompt(tokenizer: tokenizers.Tokenizer, prompt: str) -> tokenizers.Tokenizer:
    """Return a copy that puts the tokens of a prompt between [CLS] and each text; the second text of a pair has none.

    Raises:
        CheckpointError: the last word of the prompt grows together with a text, or the tokenizer puts tokens around a
            text in a way that a prompt cannot be added to.
    """
    found = _encode(tokenizer, prompt)
    if any(_encode(tokenizer, prompt + text).ids != found.ids + _encode(tokenizer, text).ids for text in _BEGINNINGS):
        raise CheckpointError(
            f"config_sentence_transformers.json has the default prompt {prompt!r}, whose last word grows together with "
            "the text: only one that ends with white space or punctuation can be added. Remove default_prompt_name, "
            "and put the prompt in front of each text yourself."
        )
    data = json.loads(tokenizer.to_str())
    template = _as_template(data.get("post_processor") or {})
    for name in ("single", "pair"):
        first = next(index for index, piece in enumerate(template[name]) if "Sequence" in piece)
        template[name].insert(first, {"SpecialToken": {"id": _PROMPT, "type_id": 0}})
    template["special_tokens"][_PROMPT] = {"id": _PROMPT, "ids": found.ids, "tokens": found.tokens}
    data["post_processor"] = template
    return tokenizers.Tokenizer.from_str(json.dumps(data, ensure_ascii=False))


def _encode(tokenizer: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
    return tokenizer.encode(text, add_special_tokens=False)


def _as_template(processor: dict[str, Any]) -> dict[str, Any]:
    """Return the tokens around a text as a TemplateProcessing."""
    if processor.get("type") == "TemplateProcessing":
        return processor
    if processor.get("type") != "BertProcessing":
        raise CheckpointError(
            f"a default prompt cannot be added to a tokenizer with the post_processor {processor.get('type')}, only to "
            "one with TemplateProcessing or BertProcessing. Remove default_prompt_name, and put the prompt in front of "
            "each text yourself."
        )
    (cls, cls_id), (sep, sep_id) = processor["cls"], processor["sep"]
    pairs = ((cls, cls_id), (sep, sep_id))
    around = {token: {"id": token, "ids": [number], "tokens": [token]} for token, number in pairs}
    pieces = [_special(cls, 0), _sequence("A", 0), _special(sep, 0)]
    return {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": [*pieces, _sequence("B", 1), _special(sep, 1)],
        "special_tokens": around,
    }


def _special(token: str, type_id: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": type_id}}


def _sequence(name: str, type_id: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": type_id}}
