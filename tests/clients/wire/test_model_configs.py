"""The models of a server, read from the text of a model config file."""

from __future__ import annotations

import pytest

from bertbundle.wire.model_configs import ModelConfigs

TEXT = (
    'model_config_list { config { name: "ner" base_path: "/m" version_labels { key: "a" value: 1 } '
    'model_version_policy { specific { versions: 1 } } } config { name: "all" base_path: "/n" } }'
)


def test_content() -> None:
    """Names, labels and policies are those of the text."""
    configs = ModelConfigs(TEXT)
    assert configs.names == ["ner", "all"]
    assert (configs.labels("ner"), configs.labels("all")) == ({"a": 1}, {})
    assert (configs.is_selected("ner", 1), configs.is_selected("ner", 2), configs.is_selected("all", 2)) == (1, 0, 1)
    assert configs.describe_policy("ner") == "specific { versions: 1 }"
    assert configs.describe_policy("all") == "latest { num_versions: 1 }"


def test_copies() -> None:
    """A change makes a copy."""
    configs = ModelConfigs(TEXT)
    assert configs.with_label("ner", "a", None).labels("ner") == {}
    assert configs.with_version("ner", 2).versions("ner") == [1, 2]
    assert configs == ModelConfigs(TEXT)
    assert configs != configs.with_label("ner", "a", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it lists no models"),
        ("nonsense {}", 'Message type "ModelServerConfig" has no field named "nonsense"'),
        (
            'model_config_list { config { name: "a" logging_config { } } }',
            'Message type "ModelConfig" has no field named "logging_config"',
        ),
        ("model_config_list {", '1:19 : Expected "}"'),
    ],
    ids=str,
)
def test_unknown_content(text: str, message: str) -> None:
    """What is not known completely is refused by name: sent to a server, it would be lost."""
    with pytest.raises(ValueError, match=message):
        ModelConfigs(text)


def test_unknown_model() -> None:
    """A model that is not listed, or listed twice, is named."""
    with pytest.raises(ValueError, match="model 'x' is not listed: there are ner, all"):
        ModelConfigs(TEXT).labels("x")
    twice = 'model_config_list { config { name: "a" } config { name: "a" } }'
    with pytest.raises(ValueError, match="model 'a' is listed 2 times"):
        ModelConfigs(twice).labels("a")
