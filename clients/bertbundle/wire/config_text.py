"""Change a --model_config_file as text, so that its comments, its layout and its other models stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bertbundle.wire.model_configs import ModelConfigs

__all__ = ["change_text"]

_TOKEN = re.compile(
    r"""(?P<space>[\s\ufeff]+|\#[^\n]*)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[\w.+/-]+|[{}<>\[\]:;,]""", re.VERBOSE
)
_CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class _Value:
    """The value of a field, ``text[start:end]``, and its own fields if it is a message."""

    start: int
    end: int
    fields: Sequence[_Field] = ()

    def children(self, name: str) -> Iterator[_Value]:
        """Yield the values of the fields of a name."""
        for each in self.fields:
            if each.name == name:
                yield from each.values


@dataclass(frozen=True, slots=True)
class _Field:
    """A field: its name, its place in the text, and its values, several if they are in brackets."""

    name: str
    start: int
    end: int
    values: Sequence[_Value] = field(default_factory=list)


class _Parser:
    """Finds the places of the fields of a message in text format.

    Source of the grammar: https://protobuf.dev/reference/protobuf/textformat-spec/
    """

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, int, int]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"unexpected character {text[position]!r}")
            if match["space"] is None:
                self._tokens.append((match[0], match.start(), match.end()))
            position = match.end()
        self._index = 0
        self.root = _Value(0, len(text), self._fields(""))

    def _peek(self) -> str:
        return self._tokens[self._index][0] if self._index < len(self._tokens) else ""

    def _next(self, expected: str = "") -> tuple[str, int, int]:
        token = self._tokens[self._index] if self._index < len(self._tokens) else ("the end", 0, 0)
        if expected and token[0] != expected:
            raise ValueError(f"expected {expected!r}, found {token[0]!r}")
        self._index += 1
        return token

    def _fields(self, closing: str) -> list[_Field]:
        fields = []
        while self._peek() not in (closing, ""):
            name, start, _ = self._next()
            if self._peek() == ":":
                self._next()
            values = self._values()
            end = self._tokens[self._index - 1][2]
            if self._peek() in (";", ","):
                self._next()
            fields.append(_Field(name, start, end, values))
        return fields

    def _values(self) -> list[_Value]:
        if self._peek() != "[":
            return [self._value()]
        self._next()
        values = []
        while self._peek() not in ("]", ""):
            values.append(self._value())
            if self._peek() == ",":
                self._next()
        self._next("]")
        return values

    def _value(self) -> _Value:
        text, start, end = self._next()
        if text in _CLOSING:
            fields = self._fields(_CLOSING[text])
            return _Value(start, self._next(_CLOSING[text])[2], fields)
        while text[0] in "\"'" and self._peek()[:1] in ('"', "'") and self._peek():  # adjacent strings are one value
            end = self._next()[2]
        return _Value(start, end)


def change_text(text: str, wanted: ModelConfigs, model: str) -> str:
    """Return a text that differs in one value or line, and whose content is `wanted`.

    Args:
        text: the content of the file.
        wanted: the models that the file should list: as it does, but with another label or a further version.
        model: the model that changes.

    Raises:
        ValueError: no such change was found; the file must be changed by hand.
    """
    root = _Parser(text).root
    models = [config for listed in root.children("model_config_list") for config in listed.children("config")]
    for config in models:
        for candidate in (*_with_labels(text, config, wanted, model), *_with_versions(text, config, wanted, model)):
            if _parses_to(candidate, wanted):
                return candidate
    raise ValueError("its layout is not supported")


def _parses_to(candidate: str, wanted: ModelConfigs) -> bool:
    try:
        return ModelConfigs(candidate) == wanted
    except ValueError:
        return False


def _with_labels(text: str, config: _Value, wanted: ModelConfigs, model: str) -> Iterator[str]:
    """Yield texts with another number for a label, with a label more, and with one less."""
    labels = wanted.labels(model)
    entries = [entry for entry in config.fields if entry.name == "version_labels"]
    for value in (value for entry in entries for item in entry.values for value in item.children("value")):
        for number in sorted(set(labels.values())):
            yield text[: value.start] + str(number) + text[value.end :]
    for label, number in labels.items():
        yield _insert(
            text, config, f"version_labels {{ key: {json.dumps(label, ensure_ascii=False)} value: {number} }}"
        )
    for entry in entries:
        yield _remove(text, entry)


def _with_versions(text: str, config: _Value, wanted: ModelConfigs, model: str) -> Iterator[str]:
    """Yield texts with a version more in the policy `specific`."""
    for policy in config.children("model_version_policy"):
        for specific in policy.children("specific"):
            for listed in specific.fields[-1:]:
                for number in wanted.versions(model):
                    last = listed.values[-1].end
                    yield f"{text[:last]}, {number}{text[last:]}"
                    yield f"{text[: listed.end]} versions: {number}{text[listed.end :]}"


def _insert(text: str, config: _Value, line: str) -> str:
    """Return a text with a further field at the end of a message."""
    brace = config.end - 1
    line_start = text.rfind("\n", 0, brace) + 1
    if text[line_start:brace].strip():  # the brace is not on a line of its own
        return f"{text[:brace].rstrip(' ')} {line} {text[brace:]}"
    first = config.fields[0].start if config.fields else brace
    indent = text[text.rfind("\n", 0, first) + 1 : first]
    indent = indent if not indent.strip() else text[line_start:brace] + "  "
    newline = "\r\n" if text[:line_start].endswith("\r\n") else "\n"
    return f"{text[:line_start]}{indent}{line}{newline}{text[line_start:]}"


def _remove(text: str, entry: _Field) -> str:
    """Return a text without a field, and without its line if there is nothing else in it."""
    start, end = text.rfind("\n", 0, entry.start) + 1, text.find("\n", entry.end) + 1
    if end and not (text[start : entry.start] + text[entry.end : end]).strip():
        return text[:start] + text[end:]
    return text[: entry.start].rstrip(" ") + text[entry.end :]
