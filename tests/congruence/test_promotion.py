"""Labels move under load on the embedded server and on TensorFlow Serving, and a restart ends where the server was."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertbundle import Client
from bertbundle.cli.main import main
from bertbundle.transports.model_service import open_services
from local_server import serving
from model_server import model_server

pytestmark = pytest.mark.slow

PAUSE = 0.01
"""Seconds between the requests of a thread: without any, they take the processors that load versions."""

CONFIG = """# two versions of one model
model_config_list {
  config {
    name: "minilm"
    base_path: "%s"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } }  # version 2 is loaded by its promotion
    version_labels { key: "stable" value: 1 }
  }
}
"""


@pytest.fixture
def config(minilm: Path, tmp_path: Path) -> Path:
    """A configuration file of MiniLM with two equal versions, of which the first one is served."""
    base = tmp_path / "models" / "minilm"
    base.mkdir(parents=True)
    for version in ("1", "2"):
        (base / version).symlink_to(minilm.resolve(), target_is_directory=True)
    path = tmp_path / "models.config"
    path.write_text(CONFIG % base, encoding="utf-8")
    return path


@contextlib.contextmanager
def served(runtime: str, config: Path) -> Iterator[str]:
    """Run a server with a configuration file."""
    flags = {"allow_version_labels_for_unavailable_models": "true", "model_config_file": config}
    real = runtime == "tensorflow_model_server"
    with model_server("minilm", **flags) if real else serving(runtime=runtime, **flags) as address:
        yield address


def version_of(address: str) -> int | None:
    """Return the version that the label stands for."""
    (service,) = open_services(address)
    with contextlib.closing(service):
        return service.version_of("minilm", "stable", timeout=30)


def promote(config: Path, address: str, *arguments: str, code: int = 0) -> None:
    """Run the command."""
    flags = ["--server", address, "--model", "minilm", "--config", str(config), "--timeout", "120"]
    assert main(["promote", "stable", *flags, *arguments]) == code


def test_promotion_under_load(runtime: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A label moves to a version that is loaded for it and back, without a failed request; then the server restarts."""
    to_2 = ("--to", "2", "--wait", "120")
    text, texts = config.read_text(encoding="utf-8"), config.with_name("texts.txt")
    texts.write_text("a guitar\n", encoding="utf-8")
    stop, answered, errors = threading.Event(), [0] * 3, list[Exception]()

    def ask(index: int, address: str) -> None:
        try:
            with Client(address, "minilm", version="stable", timeout=120) as client:
                while not stop.wait(PAUSE):
                    assert client.embed("a guitar").shape == (384,)
                    answered[index] += 1
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    with served(runtime, config) as address:
        threads = [threading.Thread(target=ask, args=(index, address)) for index in range(3)]
        for thread in threads:
            thread.start()
        try:
            promote(config, address, "--to", "7", "--no-compare", "--wait", "1", code=2)
            message = capsys.readouterr().err
            assert "version 7 of model 'minilm' is not there" in message
            assert message.endswith(": servers and models.config are as before.\n")
            assert (version_of(address), config.read_text(encoding="utf-8")) == (1, text)
            promote(config, address, *to_2, "--min-agreement", "1", "--data", str(texts), "--latency-texts", "0")
            assert version_of(address) == 2
            promote(config, address, "--rollback")
            assert version_of(address) == 1
            promote(config, address, *to_2, "--no-compare")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert errors == []
    assert min(answered) > 0
    with served(runtime, config) as address:
        assert version_of(address) == 2
