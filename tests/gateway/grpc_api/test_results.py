"""Offsets of results in all units, for any text."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle import InputError
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.grpc_api.results import encode_entities
from fakes import LABELS, FakeTransport, Model, connect

EXAMPLES = int(os.environ.get("BERTBUNDLE_EXAMPLES", "2000")) // 4
TRICKY = (
    "e\u0301",
    "👩\u200d💻",
    "🇰🇷",
    "\ufeff",
    "\x00",
    "한",
    "İ",
    "ß",
    "王建国",
    "Berlin",
    "𠮷",
    "\u0301",
    "नि",
    "\r\n",
)
ANY_TEXT = st.lists(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=25).map("".join)
# The model labels the tokens with all labels in turn.
CLIENT = connect(
    FakeTransport(Model(overrides={"label_ids": lambda inputs: inputs["input_ids"].cumsum(axis=1) % len(LABELS)}))
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=ANY_TEXT)
def test_any_text(text: str) -> None:
    """In each unit, the span is the entity's text: in a str, in UTF-16 (Java, JavaScript) and in UTF-8 (Go, Rust)."""
    try:
        entities = CLIENT.entities(text)
    except InputError:
        return
    result = pb.EntitiesResult()
    encode_entities(result, text, entities)
    utf16, utf8 = text.encode("utf-16-le"), text.encode()
    assert len(result.entities.entities) == len(entities)
    for entity in result.entities.entities:
        span = entity.span
        assert text[span.start : span.end] == entity.text
        assert utf16[2 * span.utf16_start : 2 * span.utf16_end].decode("utf-16-le") == entity.text
        assert utf8[span.utf8_start : span.utf8_end].decode() == entity.text
