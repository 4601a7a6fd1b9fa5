"""Reloads the models when the content of the --model_config_file changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from bertbundle_serving.config.models import ModelConfig, read_model_configs
from bertbundle_serving.errors import ServeError

__all__ = ["watch_model_configs"]

_logger = logging.getLogger(__name__)


async def watch_model_configs(
    path: Path,
    models: tuple[ModelConfig, ...],
    poll_seconds: float,
    reconfigure: Callable[[tuple[ModelConfig, ...]], None],
) -> None:
    """Poll a file until cancelled. If the changed file has an error, log it and keep the current models.

    Args:
        path: the --model_config_file.
        models: the models that are served now.
        poll_seconds: time between checks.
        reconfigure: called in a thread with the models in the changed file, if they differ from the current ones.
    """
    content = b""  # not the current content: the file may have changed since the models were read from it
    while True:
        await asyncio.sleep(poll_seconds)
        try:
            new_content = await asyncio.to_thread(path.read_bytes)
            if new_content != content:
                content = new_content
                models = await asyncio.to_thread(_apply, path, models, reconfigure)
        except (ServeError, OSError) as error:
            _logger.error("keeping the current models: %s", error)


def _apply(
    path: Path, current: tuple[ModelConfig, ...], reconfigure: Callable[[tuple[ModelConfig, ...]], None]
) -> tuple[ModelConfig, ...]:
    """Return the models in a file, and serve them if they differ from the current ones."""
    models = read_model_configs(path)
    if models != current:
        reconfigure(models)
        _logger.info("serving the models of the changed %s", path)
    return models
