"""Choose the decoder for a model's task, and check that the caller's options apply to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bertbundle.contract.manifest import Manifest
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.decoders import DECODERS, answer_decoder
from bertbundle.errors import InputError

__all__ = ["DecoderOptions", "choose_decoder", "spell_argument", "spell_flag"]


def spell_flag(name: str) -> str:
    """Return how an option is written on a command line."""
    return "--" + name.replace("_", "-")


def spell_argument(name: str) -> str:
    """Return how an option is written in Python."""
    return f"{name}="


@dataclass(frozen=True, slots=True)
class DecoderOptions:
    """What the caller wants of a model.

    Attributes:
        head: the head that answers, of a model with several; None for the model's task.
        has_pair: whether there is a second text.
        allow_no_answer: return an empty answer if the context probably does not contain the answer.
        spell: returns how the caller writes an option, for error messages.
        first_text: what the caller calls the first text of a pair.
    """

    head: str | None = None
    has_pair: bool = False
    allow_no_answer: bool = False
    spell: Callable[[str], str] = spell_argument
    first_text: str = "text="


def choose_decoder(manifest: Manifest, model: str, options: DecoderOptions) -> Decoder:
    """Return the decoder of the task of a model, or of its head.

    Raises:
        InputError: the task is unknown, or an option does not apply to it.
    """
    task = _task(manifest, model, options)
    tasks = [task] if options.head else [task, *(head.task for head in manifest.heads.values())]
    if unknown := [name for name in tasks if name not in DECODERS]:
        raise InputError(f"model {model!r} has the unknown task {unknown[0]}. Upgrade bertbundle.")
    decoder = DECODERS[task]
    single_texts = any(DECODERS[name].takes == "text" for name in tasks)
    _check_pair("text" if single_texts else decoder.takes, task, model, options)
    if not options.allow_no_answer:
        return decoder
    if task != "question-answering":
        raise InputError(f"model {model!r} is for {task}: omit {options.spell('allow_no_answer')}.")
    return answer_decoder(handle_impossible_answer=True)


def _task(manifest: Manifest, model: str, options: DecoderOptions) -> str:
    """Return the task of the model, or of the chosen head."""
    if options.head is None:
        return manifest.task
    if options.head not in manifest.heads:
        heads, flag = ", ".join(manifest.heads), options.spell("head")
        advice = f"it has {heads}. Change {flag}" if heads else f"it is for {manifest.task} only. Omit {flag}"
        raise InputError(f"model {model!r} has no head {options.head!r}, {advice}.")
    return manifest.heads[options.head].task


def _check_pair(takes: str, task: str, model: str, options: DecoderOptions) -> None:
    flag = options.spell("pair")
    if options.has_pair and "pair" not in takes:
        raise InputError(f"model {model!r} is for {task}, which takes single texts: omit {flag}.")
    if not options.has_pair and takes == "pair":
        raise InputError(
            f"model {model!r} is for {task}: pass the question as {options.first_text} and its context as {flag}."
        )
