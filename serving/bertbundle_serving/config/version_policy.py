"""Which of the versions on disk are served: TensorFlow Serving's version policies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AllVersions", "LatestVersions", "SpecificVersions", "VersionPolicy"]


class VersionPolicy(Protocol):
    """Selects the versions to serve."""

    def select(self, versions: Collection[int]) -> frozenset[int]:
        """Return which of the existing versions to serve."""

    def describe_missing(self, versions: Collection[int]) -> str:
        """Describe the versions that should be served but do not exist, for log messages; empty if none is missing."""


@dataclass(frozen=True, slots=True)
class LatestVersions:
    """Serve the newest versions.

    Attributes:
        count: how many.
    """

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"the number of latest versions must be at least 1, got {self.count}")

    def select(self, versions: Collection[int]) -> frozenset[int]:
        """Return the highest version numbers.

        >>> sorted(LatestVersions(2).select([1, 2, 3]))
        [2, 3]
        """
        return frozenset(sorted(versions)[-self.count :])

    def describe_missing(self, versions: Collection[int]) -> str:
        """Return "a version" if no version exists."""
        return "" if versions else "a version"


@dataclass(frozen=True, slots=True)
class AllVersions:
    """Serve every version."""

    def select(self, versions: Collection[int]) -> frozenset[int]:
        """Return all versions."""
        return frozenset(versions)

    def describe_missing(self, versions: Collection[int]) -> str:
        """Return "a version" if no version exists."""
        return "" if versions else "a version"


@dataclass(frozen=True, slots=True)
class SpecificVersions:
    """Serve the listed versions, if they exist.

    Attributes:
        versions: version numbers.
    """

    versions: frozenset[int]

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("a specific policy must name at least one version")

    def select(self, versions: Collection[int]) -> frozenset[int]:
        """Return the listed versions that exist."""
        return self.versions.intersection(versions)

    def describe_missing(self, versions: Collection[int]) -> str:
        """Return the listed versions that do not exist.

        >>> SpecificVersions(frozenset({1, 7, 9})).describe_missing([1, 2])
        'version 7, 9'
        """
        missing = sorted(self.versions.difference(versions))
        return f"version {', '.join(map(str, missing))}" if missing else ""
