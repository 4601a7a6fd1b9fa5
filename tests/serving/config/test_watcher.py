"""A --model_config_file is reloaded when its content changes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc

from bertbundle_serving.config.models import read_model_configs
from embedded_server import Serve
from tiny_bundles import TinyBundles
from waiting import wait_until


def test_config_file_is_polled(bundles: TinyBundles, serve: Serve, tmp_path: Path) -> None:
    """A changed model_config_file is applied, a malformed one is not."""
    bundles.write(1)
    path = tmp_path / "models.config"
    entry = f'config {{ name: "%s" base_path: "{bundles.base}" }}'
    path.write_text(f"model_config_list {{ {entry % 'tiny'} }}")
    models = read_model_configs(path)
    address = serve(bundles.base, models=models, model_config_file=path, config_poll_seconds=0.05).address
    path.write_text("model_config_list {")
    time.sleep(0.2)
    assert address.predict_tiny().model_spec.version.value == 1
    path.write_text(f"model_config_list {{ {entry % 'tiny'} {entry % 'second'} }}")
    wait_until(lambda: _serves(address, "second"))


def test_config_file_that_changes_while_the_server_starts(bundles: TinyBundles, serve: Serve, tmp_path: Path) -> None:
    """A change between the start-up and the first poll is not missed."""
    bundles.write(1)
    path = tmp_path / "models.config"
    entry = f'config {{ name: "%s" base_path: "{bundles.base}" }}'
    path.write_text(f"model_config_list {{ {entry % 'tiny'} }}")
    models = read_model_configs(path)
    path.write_text(f"model_config_list {{ {entry % 'tiny'} {entry % 'second'} }}")
    address = serve(bundles.base, models=models, model_config_file=path, config_poll_seconds=0.05).address
    wait_until(lambda: _serves(address, "second"))


def _serves(address: Any, model: str) -> bool:
    try:
        return bool(address.statuses(model))
    except grpc.RpcError:
        return False
