"""Spans of tags: equal to seqeval's default and strict modes, also for sequences that no scheme allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle.contract.labels import parse_labels
from bertbundle.data.tags import SCHEMES, lenient_spans, strict_spans
from optional import require_package

TYPES = ("PER", "LOC", "PER-NAM")
SEQEVAL_SCHEMES = {"BIO": "IOB2", "IOB1": "IOB1", "IOE2": "IOE2", "BIOES": "IOBES"}
"""The schemes that seqeval has, by our name of each."""


def tags_of(roles: str) -> st.SearchStrategy[list[str]]:
    """Return sequences of tags with any of the roles, whether or not a scheme allows them."""
    return st.lists(st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from(roles), st.sampled_from(TYPES))))


@given(tags_of("BIES"))
def test_lenient_spans_equal_those_of_seqeval(tags: list[str]) -> None:
    """The default mode of seqeval finds the same spans in any sequence of B, I, E, S and O."""
    get_entities = require_package("seqeval.metrics.sequence_labeling").get_entities
    expected = [(label, start, end + 1) for label, start, end in get_entities(tags)]
    assert lenient_spans(parse_labels(tags, "BIOES")) == expected


@pytest.mark.parametrize("scheme", SEQEVAL_SCHEMES)
@given(data=st.data())
def test_strict_spans_equal_those_of_seqeval(scheme: str, data: st.DataObject) -> None:
    """The strict mode of seqeval finds the same spans in any sequence of a scheme's tags."""
    reference = require_package("seqeval.scheme")
    tags = data.draw(tags_of(SCHEMES[scheme].roles))
    entities = reference.Entities([tags], getattr(reference, SEQEVAL_SCHEMES[scheme])).entities[0]
    parsed = parse_labels(tags, {"IOB1": "BIO", "IOE2": "BIOES"}.get(scheme, scheme))
    assert strict_spans(parsed, scheme) == [(entity.tag, entity.start, entity.end) for entity in entities]


@given(tags_of("BIES"))
def test_bmes_and_bilou_are_bioes_with_other_letters(tags: list[str]) -> None:
    """BMES and BILOU tags have the spans of the BIOES tags that they stand for, in both modes."""
    expected = parse_labels(tags, "BIOES")
    for scheme, letters in (("BMES", "BMES"), ("BILOU", "BILU")):
        renamed = [tag if tag == "O" else letters["BIES".index(tag[0])] + tag[1:] for tag in tags]
        parsed = parse_labels(renamed, scheme)
        assert lenient_spans(parsed) == lenient_spans(expected)
        assert strict_spans(parsed, scheme) == strict_spans(expected, "BIOES")


@given(tags_of("I"))
def test_io_tags_are_runs_of_one_type(tags: list[str]) -> None:
    """In the scheme IO, each run of one type is a span, in both modes; the default mode of seqeval agrees."""
    get_entities = require_package("seqeval.metrics.sequence_labeling").get_entities
    expected = [(label, start, end + 1) for label, start, end in get_entities(tags)]
    parsed = parse_labels(tags, "IO")
    assert lenient_spans(parsed) == strict_spans(parsed, "IO") == expected


def test_lenient_spans_equal_conlleval_on_its_own_example() -> None:
    """The example of seqeval's README, whose second sentence begins with an I tag in conlleval's manner."""
    tags = parse_labels(["O", "O", "B-MISC", "I-MISC", "B-MISC", "I-MISC", "O", "I-PER", "I-PER"], "BIO")
    assert lenient_spans(tags) == [("MISC", 2, 4), ("MISC", 4, 6), ("PER", 7, 9)]
    assert strict_spans(tags, "BIO") == [("MISC", 2, 4), ("MISC", 4, 6)]
