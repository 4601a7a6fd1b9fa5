"""Label schemes of token classification.

A label consists of a role and an entity type: ``B-PER`` begins a PER entity, ``I-PER`` continues it, ``E-PER`` ends it,
``S-PER`` is a single-token entity, and every other label is outside any entity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["OUTSIDE", "SCHEMES", "Tag", "detect_scheme", "parse_labels"]

OUTSIDE = "O"
# Role of each prefix. BMES and BILOU are BIOES with different letters. IO has no beginning, so adjacent entities of one
# type are merged; it also suits models whose B- and I- prefixes are unreliable.
SCHEMES: dict[str, dict[str, str]] = {
    "IO": dict.fromkeys("BIMESLU", "I"),
    "BIO": {"B": "B", "I": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
}


@dataclass(frozen=True, slots=True)
class Tag:
    """A parsed label.

    Attributes:
        role: B, I, E, S or O.
        type: the entity type; "" outside.
    """

    role: str
    type: str


def _split(label: str) -> tuple[str, str]:
    """Split ``B-PER`` into ``("B", "PER")``; the prefix is "" if the label has no one-letter prefix."""
    if len(label) > 2 and label[1] in "-_":
        return label[0], label[2:]
    return "", label


def detect_scheme(labels: Sequence[str]) -> str:
    """Return the smallest label scheme that has all prefixes of the labels.

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
    """Parse labels according to a scheme.

    If any label has a prefix of the scheme, labels without one (``X``, ``[CLS]``) are outside; otherwise every label
    except ``O`` is an entity type.

    Raises:
        ValueError: unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown label scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
    roles = SCHEMES[scheme]
    prefixed = any(_split(label)[0] in roles for label in labels)
    return tuple(_parse(label, roles, prefixed) for label in labels)


def _parse(label: str, roles: dict[str, str], prefixed: bool) -> Tag:
    prefix, entity_type = _split(label)
    if prefix in roles:
        return Tag(roles[prefix], entity_type)
    if label == OUTSIDE or prefixed:
        return Tag(OUTSIDE, "")
    return Tag("I", label)
