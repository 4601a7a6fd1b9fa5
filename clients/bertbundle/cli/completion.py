"""Generate completion scripts for shells from the command's argument parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

__all__ = ["SHELLS", "completion_script"]

_Words = Mapping[str, "list[str]"]


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a completion script for the commands and options of a parser.

    ``eval "$(bertbundle completion bash)"`` loads it.
    """
    return SHELLS[shell](parser.prog, _completions(parser))


def _completions(parser: argparse.ArgumentParser) -> _Words:
    """Return the words that may follow each command; the key "" stands for the program itself."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return {"": [*commands.choices, *_options(parser)]} | {
        name: [*_options(command), *_choices(command)] for name, command in commands.choices.items()
    }


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [text for action in parser._actions for text in action.option_strings if text.startswith("--")]  # noqa: SLF001


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    return [str(choice) for action in parser._get_positional_actions() for choice in action.choices or ()]  # noqa: SLF001


def _bash(program: str, words: _Words) -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(following)}" ;;' for name, following in words.items() if name)
    return f"""_{program}() {{
  local words="{" ".join(words[""])}"
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(words[""])}"
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _{program} {program}"""


def _zsh(program: str, words: _Words) -> str:
    return f"autoload -U +X compinit bashcompinit && compinit && bashcompinit\n{_bash(program, words)}"


def _fish(program: str, words: _Words) -> str:
    lines = [f"complete -c {program} -n __fish_use_subcommand -a '{' '.join(words[''])}'"]
    lines += [
        f"complete -c {program} -n '__fish_seen_subcommand_from {name}' -a '{' '.join(following)}'"
        for name, following in words.items()
        if name
    ]
    return "\n".join(lines)


SHELLS: Mapping[str, Callable[[str, _Words], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""The script generator of each shell."""
