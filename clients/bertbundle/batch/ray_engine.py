"""Compute the shards of a job on a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle.batch.shards import Shard
from bertbundle.batch.work import Counts, ShardWork
from bertbundle.errors import BertBundleError, InputError

__all__ = ["RayEngine"]

_MAX_BLOCKS_PER_WORKER = 64
_CONNECT_SECONDS = 10.0
_WATCH_SECONDS = 5.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RayEngine:
    """An `Engine` of Ray Data: a pool of actors that each compute one shard at a time.

    Only names of shards and counts travel through Ray. An actor, a worker process or a node that dies is replaced by
    Ray, and the shards that it had not finished are computed again.

    Attributes:
        address: address of the cluster; "auto" for the one of this machine, "local" for a new one.
        workers: number of actors; None for the cores of the cluster divided by `cores`.
        cores: cores of an actor.
    """

    address: str = "auto"
    workers: int | None = None
    cores: int = 1

    def __call__(self, work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        """Yield the counts of each shard, in the order in which they are finished.

        Raises:
            InputError: there is no cluster, it has too few cores, or a node has another bundle or bertbundle.
            ServerError: the model did not answer.
        """
        ray = _import_ray()
        self._connect(ray)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= self.cores]
        if not nodes:
            raise InputError(f"no node of the Ray cluster has {self.cores} cores. Pass a smaller --cores.")
        _check_nodes(ray, work, [node["NodeID"] for node in nodes])
        room = sum(int(node["Resources"]["CPU"]) // self.cores for node in nodes)
        workers = min(self.workers or room, len(shards))
        if workers > room:
            raise InputError(f"the Ray cluster has cores for {room} workers of {self.cores}. Pass a smaller --workers.")
        return self._compute(ray, work, shards, workers)

    def _connect(self, ray: Any) -> None:
        if ray.is_initialized():
            return
        try:
            address = _find_address(self.address)
            _check_port(address)
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            message = str(error).splitlines()[0]
            raise InputError(
                f"no Ray cluster at {self.address!r}: {message.rstrip('.')}. Start one with ray start --head, or pass "
                "--address."
            ) from error

    def _compute(self, ray: Any, work: ShardWork, shards: Sequence[Shard], workers: int) -> Iterator[Counts]:
        from ray.data import ActorPoolStrategy, DataContext, from_items

        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        items = [{"shard": pickle.dumps(shard)} for shard in shards]
        blocks = min(len(items), workers * _MAX_BLOCKS_PER_WORKER)
        counts = from_items(items, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_args=(work,),
            batch_size=1,
            num_cpus=self.cores,
            compute=ActorPoolStrategy(size=workers),
        )
        with _own_errors(), _watching_head(ray.get_runtime_context().gcs_address):
            for row in counts.iter_rows():
                outcome = pickle.loads(row["outcome"])  # noqa: S301 - from a worker of this job
                if isinstance(outcome, BertBundleError):
                    raise outcome
                yield outcome


class _Worker:
    """An actor, which opens its client once."""

    def __init__(self, work: ShardWork) -> None:
        self._work, self._is_checked = work, False

    def __call__(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes]]:
        """Return the counts of each shard, or its error: Ray would wrap the error, and log it with its traceback."""
        shards = map(pickle.loads, batch["shard"])
        return {"outcome": [pickle.dumps(self._outcome(shard)) for shard in shards]}

    def _outcome(self, shard: Shard) -> Counts | BertBundleError:
        try:
            if not self._is_checked:
                self._work.annotator.check_model(self._work.identity)
                self._is_checked = True
            return self._work.compute(shard)
        except BertBundleError as error:
            return error


def _find_address(address: str) -> str:
    """Return the address of the cluster of this machine, which ``ray start`` writes to a file, in place of "auto"."""
    if address != "auto":
        return address
    started = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray/ray_current_cluster")  # noqa: S108 - Ray's own
    written = started.read_text(encoding="utf-8").strip() if started.is_file() else ""
    return os.environ.get("RAY_ADDRESS") or written or address


def _check_port(address: str) -> None:
    """Check that something listens at ``host:port``: Ray itself tries for minutes.

    Raises:
        OSError: nothing listens.
    """
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


@contextlib.contextmanager
def _watching_head(address: str) -> Iterator[None]:
    """Log an error when the head of the cluster is lost: Ray then ends the process after a minute, silently."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_SECONDS):
            try:
                _check_port(address)
            except OSError as error:  # noqa: PERF203 - every few seconds
                _logger.error(
                    "the head of the Ray cluster at %s is lost: %s. Ray ends this process after a minute. Start the "
                    "cluster again, and continue with --resume.",
                    address,
                    error,
                )
                return

    threading.Thread(target=watch, name="bertbundle-ray-head", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this process: messages about Ray's own actors
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install 'bertbundle[ray]'.") from error
    return ray


def _check_nodes(ray: Any, work: ShardWork, nodes: Sequence[str]) -> None:
    """Check on each node that its bertbundle and its model are the driver's.

    Raises:
        InputError: they are not.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    import bertbundle

    probe = ray.remote(num_cpus=0, max_calls=1)(_probe)
    running = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(work)
        for node in nodes
    ]
    with _own_errors():
        for host, version in ray.get(running):
            if version != bertbundle.__version__:
                raise InputError(
                    f"host {host} has bertbundle {version}, not {bertbundle.__version__}. Install the same."
                )


def _probe(work: ShardWork) -> tuple[str, str]:
    import bertbundle

    work.annotator.check_model(work.identity)
    return socket.gethostname(), bertbundle.__version__


class _own_errors:  # noqa: N801 - a context manager
    """Raises an error of this project that Ray has wrapped, and others as InputError in one line."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, BertBundleError):
            return
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, BertBundleError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None:
            raise cause from error
        raise InputError(f"Ray failed: {_cause_line(str(error)) or type(error).__name__}") from error


def _cause_line(text: str) -> str:
    """Return the last line of a text that names an exception, as a traceback ends with; else its last line."""
    lines = text.strip().splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception): ", line)]
    return next(reversed(named or lines), "")
