"""What goes wrong outside - disks, copies, clocks, kills, clients that vanish - and what the server makes of it."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bertbundle.contract.manifest import FileInfo
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import ServeError
from bertbundle_serving.repository.model import Loading, Model
from bertbundle_serving.repository.version import State
from bertbundle_serving.runtimes import onnx
from bertbundle_serving.runtimes.integrity import check_digests, check_sizes
from waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.serving.conftest import Bundles, Launch, Serve

AVAILABLE, END = wire.ModelVersionStatus.AVAILABLE, wire.ModelVersionStatus.END


def state(address: Any, version: int) -> int:
    """Return the state of a version; 0 if the server has not seen it."""
    found = address.statuses().get(version)
    return found.state if found else 0


# ---- files


def test_damaged_file_keeps_the_old_version(bundles: Bundles, serve: Serve) -> None:
    """A version whose file does not have the manifest's digest is broken, and the old one stays."""
    bundles.write(1, digests=True)
    address = serve(bundles.base).address
    hidden = bundles.write("2.tmp", scale=2.0, digests=True)
    data = bytearray((hidden / "model.onnx").read_bytes())
    data[-40] ^= 1
    (hidden / "model.onnx").write_bytes(data)
    hidden.rename(bundles.base / "2")
    wait_until(lambda: state(address, 2) == END)
    message = address.statuses()[2].status.error_message
    assert "model.onnx has SHA-256" in message
    assert address.predict_tiny().model_spec.version.value == 1


def test_version_that_appears_file_by_file(bundles: Bundles, serve: Serve) -> None:
    """A version that is copied slowly, as a full disk may stop it too, is served once it is whole, and not before."""
    bundles.write(1, digests=True)
    address = serve(bundles.base).address
    source = bundles.write("2.tmp", scale=2.0, digests=True)
    target = bundles.base / "2"
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        half = len(path.read_bytes()) // 2
        for size in (half, None):
            assert address.predict_tiny().model_spec.version.value == 1
            place.write_bytes(path.read_bytes()[:size])
            time.sleep(0.05)
    wait_until(lambda: state(address, 2) == AVAILABLE)
    assert address.predict_tiny().model_spec.version.value == 2


def test_half_copied_bundle_is_not_served_by_another_runtime(bundles: Bundles, serve: Serve) -> None:
    """While model.onnx is not there yet, the SavedModel beside it is not served instead."""
    bundles.write(1, digests=True)
    address = serve(bundles.base).address
    hidden = bundles.write("2.tmp", digests=True, scale=2.0)
    (hidden / "model.onnx").unlink()
    (hidden / "saved_model.pb").write_bytes(b"")
    hidden.rename(bundles.base / "2")
    wait_until(lambda: state(address, 2) == END)
    assert "model.onnx is in bundle.json but not in" in address.statuses()[2].status.error_message


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b"])
def test_manifest_cannot_lead_out_of_its_bundle(tmp_path: Path, name: str) -> None:
    """A path in a manifest that leaves the bundle is refused before anything is read."""
    for check in (check_sizes, check_digests):
        with pytest.raises(ServeError, match="a path outside the bundle"):
            check(tmp_path, {name: FileInfo(0, "")})


def test_deleted_while_serving(bundles: Bundles, serve: Serve) -> None:
    """A version whose directory is deleted while it answers fails no call; the next newest takes over."""
    bundles.write(1)
    bundles.write(2)
    address = serve(bundles.base).address
    stop, failures = threading.Event(), list[grpc.RpcError]()

    def caller() -> None:
        try:
            while not stop.is_set():
                address.predict_tiny()
        except grpc.RpcError as error:
            failures.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    shutil.rmtree(bundles.base / "2")
    wait_until(lambda: state(address, 2) == END and state(address, 1) == AVAILABLE)
    stop.set()
    thread.join()
    assert failures == []
    assert address.predict_tiny().model_spec.version.value == 1


def test_broken_version_is_tried_again(tmp_path: Path) -> None:
    """A version that did not load, for a reason outside its files, is tried again, so often and no more."""
    (tmp_path / "1").mkdir()
    tries: list[Path] = []

    def load(directory: Path) -> Any:
        tries.append(directory)
        raise OSError("the share is away")

    model = Model(ModelConfig("m", tmp_path), Loading(load, retries=2, retry_seconds=0.0))
    for _ in range(5):
        model.refresh()
    assert len(tries) == 3
    assert model.statuses()[0].state == State.END


def test_retry_waits(tmp_path: Path) -> None:
    """It is not tried again before the interval is over."""
    (tmp_path / "1").mkdir()
    tries: list[Path] = []

    def load(directory: Path) -> Any:
        tries.append(directory)
        raise OSError("the share is away")

    model = Model(ModelConfig("m", tmp_path), Loading(load, retry_seconds=60))
    model.refresh()
    model.refresh()
    assert len(tries) == 1


# ---- clock, engine, client


def test_clock_jump(bundles: Bundles, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps by years changes nothing: new versions are found and served."""
    bundles.write(1)
    address = serve(bundles.base).address
    real = time.time
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features()))
    # Without a deadline: gRPC's is absolute, and its core does not see the clock of this test.
    call = address.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    versions = set()
    for number, years in ((2, 30), (3, -30)):
        monkeypatch.setattr(time, "time", lambda offset=years * 31_536_000: real() + offset)
        bundles.write(number)
        deadline = time.monotonic() + SECONDS
        while number not in versions:
            assert time.monotonic() < deadline
            versions.add(wire.PredictResponse.FromString(call(request.SerializeToString())).model_spec.version.value)


def test_engine_that_raises(bundles: Bundles, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that fails once answers that call with INTERNAL and the next one with a result."""
    bundles.write(1)
    address = serve(bundles.base, warmup=False).address
    run = onnx.OnnxServable.run
    broken = [MemoryError("no memory")]

    def fail_once(*arguments: Any) -> Any:
        if broken:
            raise broken.pop()
        return run(*arguments)

    monkeypatch.setattr(onnx.OnnxServable, "run", fail_once)
    with pytest.raises(grpc.RpcError) as caught:
        address.predict_tiny()
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert address.predict_tiny().model_spec.version.value == 1


def test_clients_that_vanish(bundles: Bundles, serve: Serve) -> None:
    """Clients that close their connection in the middle of a call leave nothing behind."""
    bundles.write(1, loops=50, warmup=b"")
    server, met = serve(bundles.base), 0
    front = server.server._front
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features()))
    for _ in range(20):
        with grpc.insecure_channel(f"127.0.0.1:{server.server.port}") as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            pending = call.future(request.SerializeToString())  # a call that nobody holds is cancelled
            # Not channel_ready_future: its thread may ask a closed channel how it is, and raise.
            wait_until(lambda: bool(front._calls) or pending.done())  # noqa: B023  # called at once
            met += not pending.done()
    assert met
    wait_until(lambda: front._calls == 0)
    assert server.address.predict_tiny().model_spec.version.value == 1


# ---- processes


@pytest.mark.slow
def test_kill_and_restart(bundles: Bundles, launch: Launch) -> None:
    """After kill -9 a new server takes the port at once and answers, on the same channel of the client."""
    bundles.write(1)
    flags = ("--model_name=tiny", f"--model_base_path={bundles.base}")
    first = launch(*flags)
    address = first.address()
    assert address.predict_tiny().model_spec.version.value == 1
    first.process.kill()
    first.process.wait()
    launch(*flags, f"--port={address.port}")
    wait_until(lambda: _answers(address))


def _answers(address: Any) -> bool:
    try:
        return bool(address.predict_tiny().model_spec.version.value == 1)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017  # the client is still connecting
        return False


@pytest.mark.slow
def test_health_says_so_before_the_end(bundles: Bundles, launch: Launch) -> None:
    """After SIGTERM the health says NOT_SERVING while calls are still answered; who watches it holds nothing up."""
    bundles.write(1)
    flags = ("--model_name=tiny", f"--model_base_path={bundles.base}", "--lame_duck_seconds=1")
    server = launch(*flags)
    address = server.address()
    stub = health_pb2_grpc.HealthStub(address.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    server.process.send_signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert address.predict_tiny().model_spec.version.value == 1
    begin = time.monotonic()
    assert server.process.wait(SECONDS) == 0
    assert time.monotonic() - begin < 8, "it waited for the watcher until the grace was over"


@pytest.mark.slow
def test_sigterm_while_a_version_loads(bundles: Bundles, launch: Launch) -> None:
    """SIGTERM ends a server whose new version takes long to load, without waiting for it."""
    bundles.write(1)
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", "--file_system_poll_wait_seconds=0.05")
    bundles.write(2, loops=20_000)
    address = server.address()
    wait_until(lambda: state(address, 2) == wire.ModelVersionStatus.LOADING)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(SECONDS) == 0


@pytest.mark.slow
def test_unload_frees_memory(bundles: Bundles, serve: Serve) -> None:
    """Versions that went leave no memory behind: ten swaps of a bundle with 40 MB of weights take less than 80 MB."""
    bundles.write(1, ballast=40 << 20)
    address = serve(bundles.base).address
    before = 0
    for version in range(2, 13):
        hidden = bundles.base / f".{version}"
        shutil.copytree(bundles.base / str(version - 1), hidden)
        hidden.rename(bundles.base / str(version))
        wait_until(lambda version=version: state(address, version - 1) == END)  # type: ignore[misc]
        shutil.rmtree(bundles.base / str(version - 1))
        before = before or _resident()
    assert _resident() - before < 80 << 20


def _resident() -> int:
    """Return the bytes of this process that are in memory (proc(5), statm: pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_swap_answers_are_never_mixed(bundles: Bundles, serve: Serve) -> None:
    """In a swap no answer holds rows of two versions, though requests of both wait at the same time."""
    bundles.write(1, loops=5)
    address = serve(bundles.base).address
    stop, wrong = threading.Event(), list[str]()

    def caller(rows: int) -> None:
        features = bundles.features(rows)
        spec = wire.ModelSpec(name="tiny")
        request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors(features))
        last = 0
        while not stop.is_set():
            answer = address.predict(request)
            version = answer.model_spec.version.value
            logits = decode_tensor(answer.outputs["logits"])
            if version < last or logits.tolist() != (features["input_ids"] * version).tolist():
                wrong.append(f"version {version} after {last}")
            last = version

    threads = [threading.Thread(target=caller, args=(rows,)) for rows in (1, 3, 40)]
    for thread in threads:
        thread.start()
    for version in (2, 3):
        bundles.write(version, loops=5)
        wait_until(lambda version=version: state(address, version) == AVAILABLE)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
