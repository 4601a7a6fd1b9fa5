"""The --model_config_file: the models to serve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bertbundle_serving.config.models import read_model_configs
from bertbundle_serving.config.version_policy import AllVersions, LatestVersions, SpecificVersions, VersionPolicy
from bertbundle_serving.errors import ServeError

ONE = 'config { name: "a" base_path: "/a" }'


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        pytest.param("", LatestVersions(1), id="default"),
        pytest.param("model_version_policy { latest {} }", LatestVersions(1), id="latest"),
        pytest.param("model_version_policy { latest { num_versions: 2 } }", LatestVersions(2), id="latest-2"),
        pytest.param("model_version_policy { all {} }", AllVersions(), id="all"),
        pytest.param(
            "model_version_policy { specific { versions: 1 versions: 3 } }",
            SpecificVersions(frozenset({1, 3})),
            id="specific",
        ),
    ],
)
def test_version_policy(tmp_path: Path, text: str, policy: VersionPolicy) -> None:
    """A model's version policy is read."""
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list { config { name: "bert" base_path: "/models/bert" model_platform: "tensorflow" '
        f'version_labels {{ key: "stable" value: 1 }} {text} }} }}'
    )
    (model,) = read_model_configs(path)
    assert (model.name, model.base_path, model.policy) == ("bert", Path("/models/bert"), policy)
    assert model.labels == {"stable": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("model_config_list {", "models.config: ", id="syntax"),
        pytest.param("models { }", 'has no field named "models". Expected', id="unknown-field"),
        pytest.param("", "it lists no models", id="empty"),
        pytest.param(f"model_config_list {{ {ONE} {ONE} }}", "Illegal to list model a multiple times", id="twice"),
        pytest.param('model_config_list { config { base_path: "/a" } }', "a model needs a name", id="no-name"),
        pytest.param('model_config_list { config { name: "a" } }', "model a has no base_path", id="no-path"),
        pytest.param(
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } }',
            "model_platform 'caffe'",
            id="platform",
        ),
        pytest.param(
            'model_config_list { config { name: "a" base_path: "/a" model_version_policy { specific {} } } }',
            "at least one version",
            id="specific-none",
        ),
    ],
)
def test_malformed_config(tmp_path: Path, text: str, message: str) -> None:
    """The message about an invalid model_config_file says what is wrong."""
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ServeError, match=re.escape(message)):
        read_model_configs(path)
