"""Label schemes of token classification.

A label consists of a role and an entity type: ``B-PER`` begins a PER entity, ``I-PER`` continues it, ``E-PER`` ends it,
``S-PER`` is a single-token entity, and every other label is outside any entity. Labels are written in one of four ways:
``B-PER`` or ``B_PER``, where other labels may stand among them; ``B:PER``, ``B/PER`` or lower case; ``PER-B``; and the
role alone, as in ``B I O``, with the entity type ``_``, as seqeval names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "OUTSIDE",
    "SCHEMES",
    "Tag",
    "check_labels",
    "detect_scheme",
    "find_roles",
    "is_no_entity",
    "parse_labels",
]

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
    """Split ``B-PER`` into ``("B", "PER")``; the role is "" if the label has no prefix of one letter."""
    if len(label) > 2 and label[1] in "-_":
        return label[0], label[2:]
    return "", label


# Other ways of writing labels. They count only if all labels are written in one of them, but for those of `_NO_ENTITY`.
_PREFIXED = re.compile(r"(?P<role>[BIMESLU])[-_:/](?P<type>.+)", re.IGNORECASE)
_SUFFIXED = re.compile(r"(?P<type>.+)[-_:/](?P<role>[BIMESLU])", re.IGNORECASE)
_BARE = re.compile(r"(?P<role>[BIMESLU])(?P<type>)", re.IGNORECASE)
_NO_ENTITY = re.compile(r"O|X|PAD|\[.+\]|<.+>", re.IGNORECASE)
_NO_TYPE = "_"
_BEGINS = frozenset("BSU")


def _find_roles(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the role and the entity type of each label that has a role."""
    found = {label: _split(label) for label in labels}
    if any(role in _BEGINS for role, _ in found.values()):
        return {label: parts for label, parts in found.items() if parts[0]}
    for form in (_PREFIXED, _SUFFIXED, _BARE):
        matches = {label: form.fullmatch(label) for label in labels if not _NO_ENTITY.fullmatch(label)}
        roles = {label: (match["role"].upper(), match["type"] or _NO_TYPE) for label, match in matches.items() if match}
        if len(roles) == len(matches) and any(role in _BEGINS for role, _ in roles.values()):
            return roles
    return {label: parts for label, parts in found.items() if parts[0]}


def find_roles(labels: Sequence[str]) -> set[str]:
    """Return the letters of the roles that labels have.

    >>> sorted(find_roles(["O", "B-PER", "M-PER"]))
    ['B', 'M']
    """
    return {role for role, _ in _find_roles(labels).values()}


def is_no_entity(label: str) -> bool:
    """Return whether a label by itself names no entity: O, or that of padding or a special token.

    >>> is_no_entity("[CLS]"), is_no_entity("PER")
    (True, False)
    """
    return _NO_ENTITY.fullmatch(label) is not None


def detect_scheme(labels: Sequence[str]) -> str:
    """Return the smallest label scheme that has all roles of the labels.

    >>> detect_scheme(["O", "B-PER", "I-PER"])
    'BIO'
    >>> detect_scheme(["O", "PER-B", "PER-I"])
    'BIO'
    >>> detect_scheme(["O", "PER", "LOC"])
    'IO'
    """
    found = find_roles(labels)
    if found <= {"I"}:
        return "IO"
    return next((name for name, roles in SCHEMES.items() if name != "IO" and found <= roles.keys()), "IO")


def parse_labels(labels: Sequence[str], scheme: str) -> tuple[Tag, ...]:
    """Parse labels according to a scheme.

    If any label has a role of the scheme, labels without one (``X``, ``[CLS]``) are outside; otherwise every label
    except ``O`` is an entity type.

    Raises:
        ValueError: unknown scheme.
    """
    roles, found = _roles_of(scheme), _find_roles(labels)
    has_roles = any(role in roles for role, _ in found.values())
    return tuple(_parse(label, found.get(label, ("", label)), roles, has_roles) for label in labels)


def check_labels(labels: Sequence[str], scheme: str) -> None:
    """Check that labels follow a scheme: all of their roles belong to it, and there is at least one.

    Raises:
        ValueError: unknown scheme, or labels that do not follow it.
    """
    roles, found = _roles_of(scheme), _find_roles(labels)
    wrong = [label for label, (role, _) in found.items() if role not in roles] if found else list(labels)
    if scheme != "IO" and wrong:
        raise ValueError(
            f"the labels do not follow {scheme}, whose labels are {', '.join(f'{role}-TYPE' for role in roles)} and O: "
            f"{', '.join(wrong[:5])}"
        )


def _roles_of(scheme: str) -> dict[str, str]:
    if scheme not in SCHEMES:
        raise ValueError(f"unknown label scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
    return SCHEMES[scheme]


def _parse(label: str, parts: tuple[str, str], roles: dict[str, str], has_roles: bool) -> Tag:
    role, entity_type = parts
    if role in roles:
        return Tag(roles[role], entity_type)
    if label == OUTSIDE or has_roles:
        return Tag(OUTSIDE, "")
    return Tag("I", label)
