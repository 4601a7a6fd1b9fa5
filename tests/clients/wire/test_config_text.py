"""A model config file is changed as text: one value or line, and nothing else."""

from __future__ import annotations

import difflib

import pytest
from google.protobuf import text_format

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.config_text import change_text
from bertbundle.wire.model_configs import ModelConfigs

FILE = """# What we serve. "quotes" and { braces } in a comment are text.
model_config_list {
  config {
    name: "ner"  # the tagger
    base_path: "/models/ner"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }  # since May
    version_labels {
      key: 'canary'
      value: 2
    }
  }
  config: { name: "other", base_path: "/models/other"; version_labels: < key: "stable", value: 1 > }
}
"""


def changed_lines(before: str, after: str) -> list[str]:
    """Return the removed and added lines."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


def move(text: str, model: str, label: str, version: int | None) -> str:
    """Move a label in a text, and check by protobuf's parser that nothing else changed."""
    changed = change_text(text, ModelConfigs(text).with_label(model, label, version), model)
    expected = text_format.Parse(text.removeprefix("\ufeff"), wire.ModelServerConfig())
    for config in expected.model_config_list.config:
        if config.name == model and version is None:
            del config.version_labels[label]
        elif config.name == model and version is not None:
            config.version_labels[label] = version
    assert text_format.Parse(changed.removeprefix("\ufeff"), wire.ModelServerConfig()) == expected
    return changed


@pytest.mark.parametrize(
    ("model", "label", "version", "lines"),
    [
        pytest.param(
            "ner",
            "stable",
            2,
            [
                '-     version_labels { key: "stable" value: 1 }  # since May',
                '+     version_labels { key: "stable" value: 2 }  # since May',
            ],
            id="one-line",
        ),
        pytest.param("ner", "canary", 17, ["-       value: 2", "+       value: 17"], id="several-lines"),
        pytest.param("ner", "beta", 2, ['+     version_labels { key: "beta" value: 2 }'], id="new"),
        pytest.param(
            "ner",
            "canary",
            None,
            ["-     version_labels {", "-       key: 'canary'", "-       value: 2", "-     }"],
            id="removed",
        ),
    ],
)
def test_one_change(model: str, label: str, version: int | None, lines: list[str]) -> None:
    """Only the lines of the label change; comments, layout and other models stay."""
    assert changed_lines(FILE, move(FILE, model, label, version)) == lines


def test_the_right_model_changes() -> None:
    """A label of the same name of another model does not change, whatever its brackets and separators."""
    (_, new) = changed_lines(FILE, move(FILE, "other", "stable", 5))
    assert (
        new == '+   config: { name: "other", base_path: "/models/other"; version_labels: < key: "stable", value: 5 > }'
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('model_config_list{config{name:"ner" base_path:"/m"}}', id="dense"),
        pytest.param('model_config_list: { config: [ { name: "a" }, { name: "n" "er" base_path: "/m" } ] }', id="list"),
        pytest.param('\ufeffmodel_config_list {\r\n  config {\r\n    name: "ner"\r\n  }\r\n}\r\n', id="windows"),
        pytest.param('model_config_list <\n\tconfig <\n\t\tname: "ner"\n\t>\n>', id="tabs"),
        pytest.param('model_config_list { config { name: "ner" version_labels { key: "stable" } } }', id="no-value"),
        pytest.param(
            'model_config_list { config { name: "ner" version_labels [ { key: "a" value: 1 }, '
            '{ key: "stable" value: 0x01 } ] } }',
            id="labels-in-a-list",
        ),
        pytest.param(
            'model_config_list { config { version_labels { value: 3 key: "st\\141ble" } name: "ner" } }', id="escapes"
        ),
    ],
)
def test_layouts(text: str) -> None:
    """A label can be moved in every layout of the text format, to a new version, and to a new label."""
    moved = move(text, "ner", "stable", 2)
    assert ModelConfigs(move(moved, "ner", "stable", 3)).labels("ner")["stable"] == 3
    assert ModelConfigs(move(moved, "ner", 'a "strange" label', 4)).labels("ner")['a "strange" label'] == 4
    assert "\r\n" not in text or "\n" not in moved.replace("\r\n", "")


@pytest.mark.parametrize("versions", ["versions: 1 versions: 2", "versions: [1, 2]", "versions: 1\n versions: 2"])
def test_a_version_is_added(versions: str) -> None:
    """A further version is added to the policy `specific`."""
    policy = f"model_version_policy {{ specific {{ {versions} }} }}"
    text = f'model_config_list {{ config {{ name: "ner" base_path: "/m" {policy} }} }} # end'
    wanted = ModelConfigs(text).with_version("ner", 7)
    changed = change_text(text, wanted, "ner")
    parsed = text_format.Parse(changed, wire.ModelServerConfig())
    assert parsed.model_config_list.config[0].model_version_policy.specific.versions == [1, 2, 7]
    assert changed.endswith("# end")


def test_what_cannot_be_changed() -> None:
    """If no small change leads to the wanted models, nothing is returned."""
    text = 'model_config_list { config { name: "ner" version_labels { key: "a" value: 1 } } }'
    wanted = ModelConfigs(text).with_label("ner", "a", 2).with_label("ner", "b", 2)
    with pytest.raises(ValueError, match="its layout is not supported"):
        change_text(text, wanted, "ner")
