"""Label schemes of token classification.

A label is a role and a type: ``B-PER`` begins a PER, ``I-PER`` continues one, ``E-PER`` ends one, ``S-PER`` is one by
itself, and everything else is outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["OUTSIDE", "SCHEMES", "Tag", "detect_scheme", "parse_labels"]

OUTSIDE = "O"
# Role of each prefix. BMES and BILOU are BIOES with other letters; IO knows no beginning, so neighbours of one type
# merge: also the way to read a model whose B- and I- are not to be relied on.
SCHEMES: dict[str, dict[str, str]] = {
    "IO": dict.fromkeys("BIMESLU", "I"),
    "BIO": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
}


@dataclass(frozen=True, slots=True)
class Tag:
    """A label taken apart.

    Attributes:
        role: B, I, E, S or O.
        type: the entity type; "" outside.
    """

    role: str
    type: str


def _split(label: str) -> tuple[str, str]:
    """Split ``B-PER`` into ``("B", "PER")``; a label without a one-letter prefix has the prefix ""."""
    if len(label) > 2 and label[1] in "-_":
        return label[0], label[2:]
    return "", label


def detect_scheme(labels: Sequence[str]) -> str:
    """Return the scheme that a list of labels follows: the smallest one that has all their prefixes.

    >>> detect_scheme(["O", "B-PER", "I-PER"])
    'BIO'
    >>> detect_scheme(["O", "PER", "LOC"])
    'IO'
    """
    prefixes = {_split(label)[0] for label in labels} - {""}
    if prefixes <= {"I"}:
        return "IO"
    return next((name for name, roles in SCHEMES.items() if name != "IO" and prefixes <= roles.keys()), "IO")


def parse_labels(labels: Sequence[str], scheme: str) -> tuple[Tag, ...]:
    """Take labels apart by a scheme.

    Where labels carry prefixes, one without (``X``, ``[CLS]``) is outside; where none does, all but ``O`` are types.

    Raises:
        ValueError: unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown label scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
    roles = SCHEMES[scheme]
    prefixed = any(_split(label)[0] in roles for label in labels)
    return tuple(_parse(label, roles, prefixed) for label in labels)


def _parse(label: str, roles: dict[str, str], prefixed: bool) -> Tag:
    prefix, kind = _split(label)
    if prefix in roles:
        return Tag(roles[prefix], kind)
    if label == OUTSIDE or prefixed:
        return Tag(OUTSIDE, "")
    return Tag("I", label)
