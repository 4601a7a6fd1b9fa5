"""Files beside a configuration file: which promotions there were, and the one that has not ended yet."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertbundle.errors import InputError

__all__ = ["History", "Journal", "Move", "Unfinished"]


@dataclass(frozen=True, slots=True)
class Move:
    """A label that moves from one version to another.

    Attributes:
        model: model name.
        label: the version label.
        before: the version before; None if there was no such label.
        after: the version afterwards; None to remove the label.
    """

    model: str
    label: str
    before: int | None
    after: int | None


class History:
    """The moves that `--rollback` undoes, one JSON object per line.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; the file need not exist."""
        self.path = path
        self._before: list[Move] | None = None

    def moves(self) -> list[Move]:
        """Return the moves that were not undone, oldest first.

        Raises:
            InputError: the file is malformed.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            return [Move(**json.loads(line)) for line in lines if line.strip()]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.path} cannot be read: {error}. Repair or remove it.") from error

    def after(self, move: Move, undone: Move | None) -> list[Move]:
        """Return the moves after another one; if it undoes one of them, without that one."""
        moves = self.moves()
        if undone is None:
            return [*moves, move]
        last = len(moves) - 1 - moves[::-1].index(undone)
        return moves[:last] + moves[last + 1 :]

    def write(self, moves: Sequence[Move]) -> None:
        """Replace the moves, atomically."""
        before = self.moves()
        _write(self.path, "".join(json.dumps(asdict(move), ensure_ascii=False) + "\n" for move in moves))
        self._before = before

    def restore(self) -> None:
        """Bring back the moves before `write`, if it was called."""
        if self._before is not None:
            self.write(self._before)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A promotion that has begun.

    Attributes:
        move: the label and its versions.
        servers: the addresses of its servers.
        moves: the history after it.
        staged: name of the temporary file beside the configuration file.
    """

    move: Move
    servers: list[str]
    moves: list[Move]
    staged: str


class Journal:
    """The promotion that has begun and not ended: what is left of it after SIGKILL or a power failure.

    Attributes:
        path: the file, which exists only meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path."""
        self.path = path

    def read(self) -> Unfinished | None:
        """Return the promotion; None if there is none.

        Raises:
            InputError: the file is malformed.
        """
        try:
            value: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            moves = [Move(**move) for move in value["moves"]]
            return Unfinished(Move(**value["move"]), list(value["servers"]), moves, str(value["staged"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.path} cannot be read: {error!r}. Remove it and restart the servers.") from error

    def write(self, unfinished: Unfinished) -> None:
        """Write the file, atomically."""
        _write(self.path, json.dumps(asdict(unfinished), ensure_ascii=False) + "\n")

    def remove(self) -> None:
        """Remove the file: the promotion has ended."""
        self.path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
