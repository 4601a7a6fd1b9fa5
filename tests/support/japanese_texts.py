"""Varied Japanese texts, made of fragments, and tokenizers for them."""

from __future__ import annotations

import functools
import itertools
import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, processors

__all__ = ["FRAGMENTS", "lookup", "normalized_origins", "sentences", "vocabulary", "write_tokenizer"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FRAGMENTS = (
    # words, inflected words, particles, punctuation
    "東京", "京都", "に行きました", "国際連合", "は", "、", "。", "吾輩は猫である", "すもももももももものうち",
    "打込む", "附属",
    # half-width katakana with sound marks, long vowel marks, full-width letters and digits
    "ｶﾞｷﾞｸﾞ", "ﾊﾟｿｺﾝ", "ｺｰﾋｰ", "パソコン", "コーヒー", "〜", "～", "ー", "１２３４５", "Ｂｅｒｔ", "第３回", "12,345円",
    # characters that are normalized to several, and the era of 2019, which is younger than some tables of Unicode
    "㍻", "㋿", "㈱", "㌔", "℡", "№①Ⅳ", "㎏", "㏗", "゛", "ﬁ",
    # combining marks, also those that compose with nothing
    "e\u0301", "か\u3099", "は\u309a", "ア゙", "かﾞ", "\u1100\u1161\u11a8",
    # iteration marks, brackets, emoji, letters of other scripts
    "時々", "佐々木", "いすゞ", "こゝろ", "「", "」", "（笑）", "!?", "(^o^)", "…",
    "😀", "👨\u200d👩\u200d👧", "👍🏽", "🇯🇵",
    "BERT", "OpenAI", "Tokyo", "ΑΣ", "𝚺", "İ", "ß", "한국", "中文简体", "𠮷野家", "髙", "http://example.com/a?b=c",
    # white space, invisible characters, special and added tokens, long words
    " ", "  ", "\u3000", "\n", "\r\n", "\t", "\xa0", "\x0b", "\x1c", "\u2028", "\x85", "\u200b", "\ufeff",
    "[E1]", "人々", "[E", "a" * 120, "あ" * 60,
)  # fmt: skip
WORDS = (
    "東京", "京都", "行く", "##都", "国際", "連合", "まし", "パソコン", "コーヒー", "##ガ", "##ー", "平成", "令和",
    "株式", "猫", "吾輩", "付属", "bert", "BERT", "to", "##ky", "##o", "フゾク", "打つ", "[E", "(^o^)",
)  # fmt: skip


def sentences(count: int, seed: int = 0) -> list[str]:
    """Return sentences of 1 to 14 fragments that are not only white space."""
    generator = random.Random(seed)  # noqa: S311
    endless = ("".join(generator.choices(FRAGMENTS, k=generator.randint(1, 14))) for _ in itertools.count())
    return list(itertools.islice((text for text in endless if text.strip()), count))


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Return a vocabulary with most characters of the fragments, half of them also inside words, and some words."""
    generator = random.Random(1)  # noqa: S311
    forms = [unicodedata.normalize(form, text) for text in FRAGMENTS for form in ("NFC", "NFD", "NFKC")]
    characters = sorted({char for form in forms for char in form + form.lower() if not char.isspace()})
    known = [char for char in characters if char not in "\u200b\ufeff" and generator.random() < 0.85]
    inside = [f"##{char}" for char in known if generator.random() < 0.5]
    return tuple(dict.fromkeys((*SPECIAL, *known, *inside, *WORDS)))


def write_tokenizer(path: Path, **settings: Any) -> Path:
    """Write the vocab.txt and tokenizer_config.json of a BertJapaneseTokenizer; return the directory."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    content = {"tokenizer_class": "BertJapaneseTokenizer", **settings}
    (path / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def lookup(*added: tokenizers.AddedToken) -> tokenizers.Tokenizer:
    """Return a tokenizer that looks up words by WordPiece and splits no text into words."""
    ids = {token: index for index, token in enumerate(vocabulary())}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens(list(added))
    return tokenizer


def normalized_origins(text: str, form: str) -> list[tuple[int, int]]:
    """Return, for each character of a normalized text, the span of the text that it comes from.

    A span that changes ends where the text can be divided so that both parts normalize to the parts of the whole, and
    where no combining mark follows. This takes quadratic time.
    """

    def normalize(part: str) -> str:
        return unicodedata.normalize(form, part)  # type: ignore[arg-type]

    def divides(index: int) -> bool:
        mark = unicodedata.combining(unicodedata.normalize("NFKD" if "K" in form else "NFD", text[index])[0])
        return not mark and normalize(text[:index]) + normalize(text[index:]) == normalize(text)

    spans = itertools.pairwise([0, *(index for index in range(1, len(text)) if divides(index)), len(text)])
    return [origin for span in spans for origin in _origins(text[slice(*span)], normalize(text[slice(*span)]), span)]


def _origins(part: str, normalized: str, span: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the origins of the characters of one part: each its own if the part does not change."""
    return [(index, index + 1) for index in range(*span)] if normalized == part else [span] * len(normalized)
