"""Offsets in UTF-16 code units and in bytes of UTF-8."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bertbundle_gateway.core.offsets import to_utf8, to_utf16

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("a😀𠮷é王\u0301\x00\ufeff"), max_size=30)


@given(text=ANY_TEXT, data=st.data())
def test_units(text: str, data: st.DataObject) -> None:
    """An offset is the length of the text before it, encoded by Python."""
    offsets = data.draw(st.lists(st.integers(0, len(text))))
    assert to_utf16(text, offsets) == [len(text[:offset].encode("utf-16-le")) // 2 for offset in offsets]
    assert to_utf8(text, offsets) == [len(text[:offset].encode()) for offset in offsets]
