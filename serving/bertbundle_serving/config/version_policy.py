"""Which of the versions on disk are served: TensorFlow Serving's version policies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

__all__ = ["All", "Latest", "Policy", "Specific"]


class Policy(Protocol):
    """Chooses versions."""

    def choose(self, versions: Collection[int]) -> frozenset[int]:
        """Return those of the versions that are to be served."""

    def wanted(self, versions: Collection[int]) -> str:
        """Return what is to be served and is not among the versions, for people; empty for nothing."""


@dataclass(frozen=True, slots=True)
class Latest:
    """Serve the newest versions."""

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"the number of latest versions must be at least 1, got {self.count}")

    def choose(self, versions: Collection[int]) -> frozenset[int]:
        """Return the highest numbers.

        >>> sorted(Latest(2).choose([1, 2, 3]))
        [2, 3]
        """
        return frozenset(sorted(versions)[-self.count :])

    def wanted(self, versions: Collection[int]) -> str:
        """Return that there is none."""
        return "" if versions else "a version"


@dataclass(frozen=True, slots=True)
class All:
    """Serve every version."""

    def choose(self, versions: Collection[int]) -> frozenset[int]:
        """Return all of them."""
        return frozenset(versions)

    def wanted(self, versions: Collection[int]) -> str:
        """Return that there is none."""
        return "" if versions else "a version"


@dataclass(frozen=True, slots=True)
class Specific:
    """Serve the named versions, as far as they are there."""

    versions: frozenset[int]

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("a specific policy must name at least one version")

    def choose(self, versions: Collection[int]) -> frozenset[int]:
        """Return the named ones."""
        return self.versions.intersection(versions)

    def wanted(self, versions: Collection[int]) -> str:
        """Return the named ones that are not there.

        >>> Specific(frozenset({1, 7, 9})).wanted([1, 2])
        'version 7, 9'
        """
        lacking = sorted(self.versions.difference(versions))
        return f"version {', '.join(map(str, lacking))}" if lacking else ""
