"""Label schemes: detection and parsing."""

from __future__ import annotations

import pytest

from bertbundle.contract.labels import Tag, check_labels, detect_scheme, parse_labels


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
        pytest.param("O B:PER I:PER", "BIO", id="colon"),
        pytest.param("O B/PER I/PER", "BIO", id="slash"),
        pytest.param("o b-per i-per", "BIO", id="lower-case"),
        pytest.param("O PER-B PER-I", "BIO", id="suffix"),
        pytest.param("[PAD] O PER_B PER_M PER_E PER_S", "BMES", id="suffix-bmes"),
        pytest.param("O B I", "BIO", id="bare"),
        pytest.param("B M E S", "BMES", id="bare-bmes"),
        pytest.param("NOUN VERB B X", "IO", id="parts-of-speech"),
        pytest.param("O VITAMIN-B VITAMIN-C", "IO", id="types-that-end-in-a-letter"),
        pytest.param("i-phone e-mail", "IO", id="types-with-a-first-letter"),
        pytest.param("O PER:I LOC:I", "IO", id="suffix-io"),
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
        pytest.param("O B/PER I/PER", "BIO", "O: B:PER I:PER", id="slash"),
        pytest.param("o b-per i-per", "BIO", "O: B:per I:per", id="lower-case"),
        pytest.param("O PER-B PER-I", "BIO", "O: B:PER I:PER", id="suffix"),
        pytest.param("O X date-time-B date-time-I", "BIO", "O: O: B:date-time I:date-time", id="suffix-with-dashes"),
        pytest.param("O B I", "BIO", "O: B:_ I:_", id="bare"),
        pytest.param("NOUN B X O", "IO", "I:NOUN I:B I:X O:", id="parts-of-speech"),
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


@pytest.mark.parametrize(
    ("labels", "scheme", "wrong"),
    [
        pytest.param("O PER LOC", "BIO", "O, PER, LOC", id="types"),
        pytest.param("O B-PER I-PER E-PER S-PER", "BIO", "E-PER, S-PER", id="bioes"),
        pytest.param("O PER-B PER-M", "BIOES", "PER-M", id="suffix"),
    ],
)
def test_labels_of_another_scheme(labels: str, scheme: str, wrong: str) -> None:
    """Labels that do not follow a scheme raise a ValueError that names them."""
    with pytest.raises(ValueError, match=f"the labels do not follow {scheme}, .*: {wrong}$"):
        check_labels(labels.split(), scheme)


@pytest.mark.parametrize("scheme", ["IO", "BIO", "BIOES"])
def test_labels_of_a_scheme(scheme: str) -> None:
    """Labels follow every scheme that has their roles; any labels may be read as IO."""
    check_labels(["[PAD]", "O", "B-PER", "I-PER"], scheme)
