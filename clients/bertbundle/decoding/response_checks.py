"""What a client checks of the texts it is given and of the answers it gets."""

from __future__ import annotations

from collections.abc import Sequence

from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Prediction
from bertbundle.decoding.decoders import DECODERS, Decoder
from bertbundle.errors import InputError, ManifestError, ServerError
from bertbundle.text.tokenizer import Text

__all__ = ["check_answer", "check_pairs", "check_task", "text_of"]


def text_of(answer: Prediction, name: str) -> str:
    """Return the only row of a string output."""
    value = answer.outputs[name][0]
    if not isinstance(value, bytes):
        raise ServerError(f"the server answered {type(value).__name__} for output {name!r}, expected a string.")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"the {name} is not UTF-8: {error}. Export the bundle again.") from error


def check_pairs(decoder: Decoder, texts: Sequence[Text]) -> None:
    """Refuse texts that are pairs where single ones are meant, and the other way round."""
    kinds = {"pair" if isinstance(text, tuple) else "text" for text in texts}
    wrong = kinds - set(decoder.takes.split(" or "))
    if wrong:
        raise TypeError(f"{decoder.method} takes a {decoder.takes} each, got a {wrong.pop()}; a batch is a list")


def check_task(manifest: Manifest, decoder: Decoder, model: str) -> None:
    """Refuse a model of another task, naming the method that asks it."""
    if manifest.task == decoder.task:
        return
    known = DECODERS.get(manifest.task)
    advice = f"use {known.method}()" if known else "upgrade bertbundle"
    raise InputError(
        f"model {model!r} does {manifest.task}, {decoder.method}() needs a model for {decoder.task}: {advice}."
    )


def check_answer(answer: Prediction, outputs: Sequence[str], rows: int) -> None:
    """Refuse an answer without an output that was asked for, or with another number of rows."""
    for name in outputs:
        array = answer.outputs.get(name)
        if array is None or array.ndim < 1 or len(array) != rows:
            shape = "nothing" if array is None else f"shape {list(array.shape)}"
            raise ServerError(f"the server answered {shape} for output {name!r}, expected {rows} rows.")
