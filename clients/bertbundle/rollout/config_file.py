"""A server's --model_config_file: change it atomically."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bertbundle.errors import InputError
from bertbundle.rollout.history import History, Journal, Move
from bertbundle.wire.config_text import change_text
from bertbundle.wire.model_configs import ModelConfigs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["ConfigFile"]


class ConfigFile:
    """The content of a configuration file at one time.

    Attributes:
        path: the file, without symbolic links.
        configs: its models.
        history: the promotions, in the file `models.config.promotions` beside it.
        journal: the promotion that has begun, in the file `models.config.unfinished` beside it.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            InputError: it cannot be read, or is not a ModelServerConfig that is known completely.
        """
        self.path = path.resolve()
        self.history = History(self.path.with_name(f"{self.path.name}.promotions"))
        self.journal = Journal(self.path.with_name(f"{self.path.name}.unfinished"))
        self._replaced = False
        try:
            self._data = self.path.read_bytes()
            self._text = self._data.decode("utf-8")
            self.configs = ModelConfigs(self._text)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
        except ValueError as error:  # also a UnicodeDecodeError
            raise InputError(f"{path} is not a model config file that can be changed: {error}.") from error

    def label(self, model: str, label: str) -> int | None:
        """Return the version that a label stands for; None if the model has no such label.

        Raises:
            InputError: the file does not list the model.
        """
        try:
            return self.configs.labels(model).get(label)
        except ValueError as error:
            raise InputError(f"{self.path}: {error}. Change --model or --config.") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other promotions away that use a file of the same directory, where the system can lock it.

        Raises:
            InputError: another promotion is running, or the file was changed since it was read.
        """
        with contextlib.ExitStack() as stack:
            if fcntl:
                directory = os.open(self.path.parent, os.O_RDONLY)
                stack.callback(os.close, directory)
                _lock(directory, self.path.parent)
            self._check_unchanged()
            yield

    def _check_unchanged(self) -> None:
        if self.path.read_bytes() != self._data:
            raise InputError(f"{self.path} was changed meanwhile. Start again.")

    def present_configs(self) -> ModelConfigs:
        """Return the models that the file lists now; those that were read, if it cannot be read any more."""
        with contextlib.suppress(OSError, ValueError):
            return ModelConfigs(self.path.read_text(encoding="utf-8"))
        return self.configs

    @contextlib.contextmanager
    def staged(self, wanted: ModelConfigs, model: str) -> Iterator[Path]:
        """Write the content that the file will have to a temporary file beside it, which is removed at the end.

        Raises:
            InputError: the file cannot be changed.
        """
        try:
            text = self._text
            for configs in self._steps(wanted, model):
                text = change_text(text, configs, model)
        except ValueError as error:
            raise InputError(f"{self.path} cannot be changed: {error}. Change it by hand.") from error
        with self._temporary(text) as path:
            yield path

    def _steps(self, wanted: ModelConfigs, model: str) -> list[ModelConfigs]:
        """Return the changes one by one: first the versions, then the labels."""
        new = [version for version in wanted.versions(model) if version not in self.configs.versions(model)]
        steps = [self.configs.with_version(model, version) for version in new]
        return [*steps, wanted] if (steps[-1] if steps else self.configs) != wanted else steps

    @contextlib.contextmanager
    def _temporary(self, text: str) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            shutil.copystat(self.path, name)
            os.utime(name)  # programs that compare size and time, such as rsync, must see the change
            _copy_owner(self.path, Path(name))
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def replace(self, staged: Path) -> None:
        """Replace the file by a staged one, atomically.

        Raises:
            InputError: the file was changed meanwhile.
        """
        self._check_unchanged()
        staged.replace(self.path)
        self._replaced = True
        with contextlib.suppress(OSError):  # not every system can sync a directory
            directory = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)

    def restore(self) -> None:
        """Write the content that was read, if `replace` replaced it, and the history of that time."""
        self.history.restore()
        if self._replaced:
            with self._temporary(self._text) as staged:
                staged.replace(self.path)

    def last_move(self, model: str, label: str) -> Move:
        """Return the last move of a label that was not undone.

        Raises:
            InputError: there is none, or the label was moved by something else since.
        """
        moves = [move for move in self.history.moves() if (move.model, move.label) == (model, label)]
        current = self.label(model, label)
        if not moves:
            raise InputError(
                f"{self.history.path} has no promotion of label {label!r} of model {model!r} to roll back."
            )
        if moves[-1].after != current:
            raise InputError(
                f"label {label!r} of model {model!r} is version {current}, the last promotion moved it to "
                f"{moves[-1].after}: it was changed since. Move it with --to."
            )
        return moves[-1]


def _lock(directory: int, path: Path) -> None:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another promotion with a file in {path} is running. Start again afterwards.") from error
    except OSError:
        return  # a file system without locks


def _copy_owner(source: Path, target: Path) -> None:
    """Give a file the owner of another one, where that is possible and allowed."""
    if hasattr(os, "chown"):
        status = source.stat()
        with contextlib.suppress(OSError):
            os.chown(target, status.st_uid, status.st_gid)
