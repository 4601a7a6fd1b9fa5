"""Move a version label on running servers and in their configuration file, completely or not at all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bertbundle.contract.types import VersionStatus
from bertbundle.errors import BertBundleError, InputError, ModelNotFound, ServerError
from bertbundle.rollout.config_file import ConfigFile
from bertbundle.rollout.history import Move, Unfinished
from bertbundle.transports.model_service import ModelService
from bertbundle.wire.model_configs import ModelConfigs

__all__ = ["Promotion"]

_POLL_SECONDS = 0.25


@dataclass
class Promotion:
    """Moves labels of the models of a file on all servers that were started with it.

    Attributes:
        file: the configuration file.
        services: the servers; each of them serves the models of the file.
        timeout: timeout of a call in seconds, including the time in which a server loads a version.
        wait: seconds to wait until a version is available.
    """

    file: ConfigFile
    services: Sequence[ModelService]
    timeout: float = 120.0
    wait: float = 60.0
    _reloaded: bool = field(default=False, init=False)

    def run(self, move: Move, *, check: Callable[[], None] = lambda: None, undone: Move | None = None) -> None:
        """Load the version if the policy does not list it, wait until it is available, and move the label.

        If a step fails, servers and file are as before, and the error says so.

        Args:
            move: the label and its versions.
            check: called when the version is available, before the label moves; an exception ends the promotion.
            undone: the move that this one undoes, if any.

        Raises:
            InputError: the file cannot be changed, does not have the labels that the servers have, or another promotion
                is running.
            ServerError: a server did not load the version or did not accept the change.
        """
        with self.file.locked():
            if self.file.journal.read() is not None:
                raise InputError(f"{self.file.journal.path} has a promotion that was interrupted. Start again.")
            self._run(move, check, undone)

    def _run(self, move: Move, check: Callable[[], None], undone: Move | None) -> None:
        self._check_agreement(move)
        current = self.file.configs
        loading = current
        if move.after is not None and not current.is_selected(move.model, move.after):
            loading = current.with_version(move.model, move.after)
        wanted = loading.with_label(move.model, move.label, move.after)
        with self.file.staged(wanted, move.model) as staged:
            moves = self.file.history.after(move, undone)
            try:
                self.file.journal.write(Unfinished(move, [each.address for each in self.services], moves, staged.name))
                self._load(move, loading)
                check()
                self._reload(wanted)
                self._check_moved(move)
                self.file.replace(staged)
                self.file.history.write(moves)
                self.file.journal.remove()
            except BaseException as error:
                self._restore(error)
                raise

    def recover(self) -> str:
        """Undo a promotion that was killed, or finish it if it had replaced the file: servers get the file's models.

        Returns:
            What was done; "" if no promotion was killed.

        Raises:
            InputError: it had other servers, or another promotion is running.
            ServerError: a server does not accept the file's models.
        """
        with self.file.locked():
            unfinished = self.file.journal.read()
            return "" if unfinished is None else self._recover(unfinished)

    def _recover(self, unfinished: Unfinished) -> str:
        file, move = self.file, unfinished.move
        what = f"a promotion of label {move.label} of model {move.model} to {_name(move.after)} was interrupted"
        gone = f"If a server no longer exists, remove {file.journal.path}"
        services = {service.address: service for service in self.services}
        if not services.keys() >= set(unfinished.servers):
            raise InputError(f"{what}. Pass its servers, --server {','.join(unfinished.servers)}. {gone}.")
        for address in unfinished.servers:
            if problem := self._restore_server(services[address], file.configs):
                raise ServerError(f"{what}, and cannot be undone: {problem} {gone}.", code="FAILED_PRECONDITION")
        moved = move.model in file.configs.names and file.label(move.model, move.label) == move.after
        if moved:
            file.history.write(unfinished.moves)
        file.path.with_name(unfinished.staged).unlink(missing_ok=True)
        file.journal.remove()
        return f"{what}: it is {'finished' if moved else 'undone'} now."

    def _check_agreement(self, move: Move) -> None:
        """Check that each server has the models and the labels of the file: a reload replaces them all."""
        for service in self.services:
            for model in self.file.configs.names:
                service.status(model, timeout=self.timeout)
                labels = {move.label: move.before} if model == move.model else {}
                for label, version in (labels | dict(self.file.configs.labels(model))).items():
                    found = self._version_of(service, model, label)
                    if found not in (version, -1):
                        raise InputError(
                            f"label {label!r} of model {model!r} is {_name(version)} in {self.file.path}, and "
                            f"{_name(found)} on {service.address}. Pass the file that the server was started with, or "
                            "restart it."
                        )

    def _version_of(self, service: ModelService, model: str, label: str) -> int | None:
        """Return the version of a label; -1 if the server does not have that version."""
        try:
            return service.version_of(model, label, timeout=self.timeout)
        except ModelNotFound:
            return -1

    def _load(self, move: Move, loading: ModelConfigs) -> None:
        """Load the version, and wait until each server has it."""
        if move.after is None:
            return
        if loading != self.file.configs:
            self._reload(loading)
        for service in self.services:
            self._wait(service, move.model, move.after)

    def _wait(self, service: ModelService, model: str, version: int) -> None:
        end = time.monotonic() + self.wait
        while True:
            statuses = service.status(model, timeout=self.timeout)
            found = next((status for status in statuses if status.version == version), None)
            if found is not None and found.state == "AVAILABLE":
                return
            failed = found is not None and found.error_code != "OK"
            if failed or time.monotonic() >= end:
                raise ServerError(self._explain(service, model, version, found), code="FAILED_PRECONDITION")
            time.sleep(_POLL_SECONDS)

    def _explain(self, service: ModelService, model: str, version: int, found: VersionStatus | None) -> str:
        state = "not there" if found is None else f"in state {found.state}"
        reason = f": {found.error_message.rstrip('.')}" if found is not None and found.error_message else ""
        return (
            f"version {version} of model {model!r} is {state} on {service.address}{reason}. A label can stand for an "
            f"AVAILABLE version only. Does its directory exist, and does the policy of the model select it "
            f"({self.file.configs.describe_policy(model)})? To serve two versions, write model_version_policy "
            f"{{ specific {{ versions: 1 versions: 2 }} }} into {self.file.path.name} and reload the server."
        )

    def _reload(self, configs: ModelConfigs) -> None:
        self._reloaded = True
        for service in self.services:
            service.reload(configs, timeout=self.timeout)

    def _check_moved(self, move: Move) -> None:
        for service in self.services:
            found = service.version_of(move.model, move.label, timeout=self.timeout)
            if found != move.after:
                raise ServerError(
                    f"{service.address} accepted the change, but label {move.label!r} is {_name(found)}. Does it "
                    "reload another file meanwhile?"
                )

    def _restore(self, error: BaseException) -> None:
        """Bring the file back to where it was, and the servers to the file; add to the error whether that succeeded."""
        problems = []
        try:
            self.file.restore()
        except OSError as failure:
            problems.append(f"{failure.filename or self.file.path}: {failure.strerror or failure}.")
        present = self.file.present_configs()  # another program may have changed the file
        servers = self.services if self._reloaded else ()
        problems += [problem for service in servers if (problem := self._restore_server(service, present))]
        if not problems:
            with contextlib.suppress(OSError):
                self.file.journal.remove()
        outcome = f"The label did not move: servers and {self.file.path.name} are as before."
        if present != self.file.configs:
            outcome = f"The label did not move: the servers have the models of {self.file.path.name} as it is now."
        if problems:
            outcome = (
                f"Not everything is as before: {' '.join(problems)} Restart the servers with {self.file.path}, or "
                "start a promotion, which first brings them back."
            )
        if isinstance(error, OSError):
            raise InputError(f"{error.filename or self.file.path}: {error.strerror or error}. {outcome}") from error
        if isinstance(error, BertBundleError):
            error.args = (f"{error} {outcome}",)
        elif problems:  # the check ended the promotion, or Ctrl-C
            raise ServerError(outcome) from error

    def _restore_server(self, service: ModelService, configs: ModelConfigs) -> str:
        """Return why a server does not serve the models of the file again; "" if it does."""
        try:
            service.reload(configs, timeout=self.timeout)
        except ServerError as error:
            return str(error)
        return ""


def _name(version: int | None) -> str:
    return "not there" if version is None else f"version {version}"
