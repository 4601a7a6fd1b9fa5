"""What the server loads: the repository of its models, with warmup, batching parameters and metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bertbundle_serving.config.batching_parameters import BatchingParameters, version_batching_parameters
from bertbundle_serving.dataplane.metrics import ServingMetrics
from bertbundle_serving.errors import RequestError
from bertbundle_serving.options import ServerOptions, check_base_path
from bertbundle_serving.repository.model import LoadOptions
from bertbundle_serving.repository.repository import Repository, RepositoryOptions
from bertbundle_serving.repository.warmup import WARMUP_FILE, warm_up
from bertbundle_serving.runtimes import RuntimeOptions, Servable, loader

__all__ = ["make_repository"]

_NO_BATCHING = BatchingParameters(max_execution_batch_size=1)


def make_repository(options: ServerOptions, metrics: ServingMetrics) -> Repository:
    """Return a server's repository, which counts and measures loads and warmups."""

    def batching(directory: Path) -> BatchingParameters:
        default = options.batching or _NO_BATCHING
        may_override = options.batching and options.per_version_batching
        return version_batching_parameters(directory, default) if may_override else default

    return Repository(
        options.models,
        LoadOptions(
            _make_load(options, metrics), batching, options.load_retries, options.load_retry_seconds, check_base_path
        ),
        RepositoryOptions(options.poll_seconds, options.load_threads, options.labels_for_unavailable),
    )


def _make_load(options: ServerOptions, metrics: ServingMetrics) -> Callable[[Path], Servable]:
    load_directory = loader(
        options.runtime,
        RuntimeOptions(
            options.threads, options.inter_op_threads, options.batch_non_bundles, options.precision, options.device
        ),
    )

    def load(directory: Path) -> Servable:
        path = str(directory)
        with _timed(lambda code, seconds: metrics.load_finished(path, seconds, success=code == "OK")):
            servable = load_directory(directory)
        try:
            if options.warmup and (directory / WARMUP_FILE).is_file():  # TensorFlow Serving counts no other warmup
                with _timed(lambda code, seconds: metrics.warmup_finished(path, code, seconds)):
                    warm_up(servable, directory)
        except Exception:
            servable.close()
            raise
        return servable

    return load


@contextlib.contextmanager
def _timed(record: Callable[[str, float], None]) -> Iterator[None]:
    """Pass the status code and the duration of the context, in seconds, to `record`."""
    started, code = time.perf_counter(), "UNKNOWN"
    try:
        yield
        code = "OK"
    except RequestError as error:
        code = error.code
        raise
    finally:
        record(code, time.perf_counter() - started)
