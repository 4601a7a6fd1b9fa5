"""The texts that each exported format is verified on, and the batches made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bertbundle.contract.manifest import InputSpec
from bertbundle.contract.types import Encoding, InputFeatures
from bertbundle.text.features import pad_encodings
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.errors import ExportError

__all__ = ["MAX_TEXTS", "PARITY_TEXTS", "make_features"]

MAX_TEXTS = 256
_MAX_LENGTH_OF_FULL_BATCH = 128
"""Signatures longer than this get no batch of all texts: the longest batches take the most time."""

PARITY_TEXTS = (
    "Barack Obama was born in Honolulu, Hawaii, and served as the 44th President of the United States.",
    "Apple opened its first office in Hyderabad in May 2016; Tim Cook flew in from Cupertino for the day.",
    "Please send the invoice to Maria Garcia, 27 Baker Street, Springfield, IL 62704, before Friday.",
    "The German chancellor met Emmanuel Macron in Paris on Tuesday to talk about the price of natural gas.",
    "I bought these headphones two weeks ago and the left side has already stopped working. Very disappointed!",
    "The soup was excellent, the service friendly, and we will certainly come back with the children.",
    "How do I reset my password if I no longer have access to my old e-mail address?",
    "Lionel Messi scored twice as Argentina beat France on penalties in Lusail.",
    "王建国毕业于清华大学计算机系，现任北京某科技有限公司董事长。",
    "1966年出生，汉族，中共党员，本科学历，工程师，美国国籍，无境外永久居留权。",
    "上海市浦东新区人民法院昨日开庭审理了这起合同纠纷案，原告李明要求赔偿50万元。",
    "这家餐厅的味道很好，服务员也非常热情，下次还会再来。",
    "华为技术有限公司在深圳发布了新款手机，任正非没有出席发布会。",
    "今天天气真不错，我们一起去颐和园划船吧！",
    "iPhone 15 Pro的价格是8999元，比去年贵了一点。",
    "OK",
)
"""The default texts, English and Chinese; `ExportOptions.texts` replaces them."""


def make_features(
    tokenizer: Tokenizer, texts: Sequence[str], *, signatures: Mapping[str, int], inputs: Sequence[InputSpec]
) -> list[InputFeatures]:
    """Make one batch per signature: texts truncated to its length, and all texts joined so that one row is full.

    The shortest signature gets all texts, and so does each signature up to 128 tokens that is at least twice as long as
    the last one that got all texts. The others leave out the texts that fit the next shorter signature, which would
    only be padded more. Every batch has the longest text.

    Raises:
        ExportError: more than `MAX_TEXTS` texts.
        InputError: a text is empty.
    """
    if len(texts) > MAX_TEXTS:
        raise ExportError(f"{len(texts)} texts were given to verify the export on. Give at most {MAX_TEXTS}.")
    singles = tokenizer.encode(list(texts), truncation="truncate")
    joined = tokenizer.encode([" ".join(texts), " ".join(texts[::-1])], truncation="truncate")
    longest = max(singles, key=len)
    features, shorter_length, last_full_length = [], 0, 0
    for signature, length in signatures.items():
        min_tokens = shorter_length + 1
        if 2 * last_full_length <= length <= _MAX_LENGTH_OF_FULL_BATCH:
            min_tokens, last_full_length = 0, length
        chosen = [encoding for encoding in singles if encoding is longest or len(encoding) >= min_tokens]
        rows = [_truncate(encoding, length) for encoding in (*chosen, *joined)]
        features.append(pad_encodings(rows, signature, length=length, inputs=inputs))
        shorter_length = length
    return features


def _truncate(encoding: Encoding, length: int) -> Encoding:
    """Keep the first tokens of an encoding and its last one, [SEP]."""
    if len(encoding) <= length:
        return encoding
    return encoding.select((0, length - 1), (len(encoding) - 1, len(encoding)))
