"""Label schemes: detection and parsing."""

from __future__ import annotations

import pytest

from bertbundle.contract.labels import Tag, detect_scheme, parse_labels


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        pytest.param("O B-PER I-PER", "BIO", id="bio"),
        pytest.param("B-PER I-PER", "BIO", id="bio-without-o"),
        pytest.param("O B_PER I_PER", "BIO", id="underscore"),
        pytest.param("O B-PER", "BIO", id="only-b"),
        pytest.param("O B-PER I-PER E-PER S-PER", "BIOES", id="bioes"),
        pytest.param("O S-PER", "BIOES", id="only-s"),
        pytest.param("O B-NAME M-NAME E-NAME S-NAME", "BMES", id="bmes"),
        pytest.param("O B-PER I-PER L-PER U-PER", "BILOU", id="bilou"),
        pytest.param("O I-PER I-LOC", "IO", id="io"),
        pytest.param("O PER LOC", "IO", id="bare-types"),
        pytest.param("O", "IO", id="only-o"),
        pytest.param("[CLS] [SEP] X O B-PER I-PER", "BIO", id="extra-labels"),
        pytest.param("O Q-PER R-PER", "IO", id="unknown-prefixes"),
        pytest.param("LABEL_0 LABEL_1", "IO", id="unnamed"),
    ],
)
def test_detect_scheme(labels: str, scheme: str) -> None:
    """The detected scheme is the smallest one that has all prefixes of the labels."""
    assert detect_scheme(labels.split()) == scheme
    parse_labels(labels.split(), scheme)


@pytest.mark.parametrize(
    ("labels", "scheme", "tags"),
    [
        pytest.param("O B-PER I-PER", "BIO", "O: B:PER I:PER", id="bio"),
        pytest.param("B-A M-A E-A S-A", "BMES", "B:A I:A E:A S:A", id="bmes"),
        pytest.param("B-A I-A L-A U-A", "BILOU", "B:A I:A E:A S:A", id="bilou"),
        pytest.param("O B-PER I-PER", "IO", "O: I:PER I:PER", id="bio-read-as-io"),
        pytest.param("O PER LOC", "IO", "O: I:PER I:LOC", id="bare-types"),
        pytest.param("O X [CLS] B-PER", "BIO", "O: O: O: B:PER", id="bare-among-prefixed"),
        pytest.param("O B-I-PER", "BIO", "O: B:I-PER", id="type-with-dash"),
        pytest.param("O B-PER E-PER", "BIO", "O: B:PER O:", id="prefix-of-another-scheme"),
    ],
)
def test_parse_labels(labels: str, scheme: str, tags: str) -> None:
    """A label is parsed into a role and a type; a label that the scheme does not have is outside."""
    expected = tuple(Tag(*tag.split(":")) for tag in tags.split())
    assert parse_labels(labels.split(), scheme) == expected


def test_unknown_scheme() -> None:
    """An unknown scheme raises a ValueError that lists the known schemes."""
    with pytest.raises(ValueError, match="unknown label scheme 'BIOX', expected one of IO, BIO, BIOES, BMES, BILOU"):
        parse_labels(["O"], "BIOX")
