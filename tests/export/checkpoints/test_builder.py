"""Custom models: `--model-class` and `--init-args`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle_export import export_bundle
from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.builder import import_model_class
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.source.model import run_source
from keras_files import CONFIG, write_beside
from local_server import serving
from source_models import example_inputs
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow


SETTINGS = {**CONFIG, "initializer_range": 0.5, "id2label": dict(enumerate(LABELS))}


def config(**changes: Any) -> Any:
    """Return the configuration of the models in this file."""
    from bertbundle_export.tensorflow_import import transformers

    label2id = {label: index for index, label in enumerate(LABELS)}
    return transformers.BertConfig(**SETTINGS, label2id=label2id, **changes)


def logits(model: Any, names: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")) -> Any:
    """Return the logits of a Keras model for the example inputs."""
    from bertbundle_export.tensorflow_import import tf

    inputs = example_inputs()
    return np.asarray(model({name: tf.constant(inputs[name]) for name in names}, training=False))


def options(name: str, **init_args: Any) -> LoadOptions:
    """Return the load options of a model in `custom_models`."""
    return LoadOptions(task="token-classification", model_class=f"custom_models:{name}", init_args=init_args)


def loaded_logits(path: Path, load: LoadOptions) -> Any:
    """Return the logits of the loaded model for the example inputs."""
    model = load_checkpoint(path, str(path), load)
    inputs = example_inputs()
    return run_source(model, {spec.name: inputs[spec.name] for spec in model.inputs})["logits"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Callable[[str], tuple[Path, Any]]:
    """Return a function from the name of a saved model to its path and logits.

    Each saved model is the second of its kind in the process, so that Keras numbers its layers.
    """
    del tensorflow
    import custom_models

    root = tmp_path_factory.mktemp("own")
    first = custom_models.Tagger(config(output_hidden_states=True), width=5)
    logits(first)
    model = custom_models.Tagger(config(output_hidden_states=True), width=5)
    expected = {"class": logits(model)}
    model.save_pretrained(str(root / "class"))
    write_beside(root / "class" / "unused", SETTINGS, name="unused.json")
    for name, kwargs in {"build_tagger": {"width": 5}, "build_no_segments": {}}.items():
        write_beside(root / name / "model.h5", {"model_type": "bert", **SETTINGS}, name="config.json")
        getattr(custom_models, name)(config(), **kwargs)
        functional = getattr(custom_models, name)(config(), **kwargs)
        functional.save_weights(str(root / name / "model.h5"))
        expected[name] = logits(functional, tuple(functional.input_names))
    paths = {"class": root / "class", **{name: root / name / "model.h5" for name in expected if name != "class"}}
    return lambda name: (paths[name], expected[name])


@pytest.mark.parametrize(
    ("name", "model_class", "init_args"),
    [
        pytest.param("class", "Tagger", {"output_hidden_states": True, "width": 5}, id="subclass"),
        pytest.param("build_tagger", "build_tagger", {"width": 5}, id="functional"),
        pytest.param("build_tagger", "Tagger", {"width": 5}, id="subclass_with_weights_of_functional"),
        pytest.param("build_no_segments", "build_no_segments", {}, id="functional_without_token_types"),
    ],
)
def test_custom_model_loads_as_saved(saved: Any, name: str, model_class: str, init_args: dict[str, Any]) -> None:
    """A model loads as it was saved, no matter how many models were built before it was saved or loaded."""
    path, expected = saved(name)
    for _ in range(2):
        np.testing.assert_allclose(loaded_logits(path, options(model_class, **init_args)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "load", "message"),
    [
        pytest.param(
            "class",
            options("Tagger", width=5, output_hidden_states=False),
            r"dense.*\[64, 5\], expected \[32, 5\]",
            id="hidden_states_off",
        ),
        pytest.param("build_tagger", options("build_tagger"), r"dense_\d*.*\[32, 5\], expected \[32, 6\]", id="width"),
        pytest.param("build_tagger", options("build_no_segments"), "does not have: conv1d", id="layer_too_few"),
        pytest.param("build_no_segments", options("build_tagger"), "no weights for conv1d", id="layer_too_many"),
        pytest.param(
            "build_tagger", options("build_other_names"), "Inputs named words, mask; it must", id="other_inputs"
        ),
        pytest.param("build_tagger", options("build_tagger", wide=5), "unexpected keyword", id="unknown_argument"),
        pytest.param("build_tagger", options("no_such"), "has no attribute", id="no_such_name"),
        pytest.param(
            "build_tagger",
            LoadOptions(task="feature-extraction", init_args={"filters": 8}),
            "filters: a",
            id="no_setting",
        ),
        pytest.param("build_tagger", LoadOptions(), "more than BERT and one Dense.*--model-class", id="not_stated"),
    ],
)
def test_mismatches(saved: Any, name: str, load: LoadOptions, message: str) -> None:
    """A model other than the saved one is refused, with the name of the layer or argument."""
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved(name)[0], name, load)


def test_task_without_a_class_of_transformers(checkpoint: Callable[..., Path]) -> None:
    """A Hugging Face directory has no head for spans: the error names the way to read one of the user's own."""
    load = LoadOptions(task="span-classification", labels=("PER", "LOC"))
    with pytest.raises(CheckpointError, match=r"transformers has no TFBertForSpanClassification.*--model-class"):
        load_checkpoint(checkpoint("BertModel"), "x", load)


@pytest.mark.parametrize("code", ["def", "1 / 0", "import sys; sys.exit(3)", "raise KeyError('x')"])
def test_module_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, code: str
) -> None:
    """Any failure of the user's module raises one error that names the module."""
    module = f"failing_{request.node.callspec.indices['code']}"
    (tmp_path / f"{module}.py").write_text(code + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match=f"--model-class {module}:Tagger: {module} fails: "):
        import_model_class(f"{module}:Tagger")


def test_fixed_length(saved: Any, tmp_path: Path) -> None:
    """A functional model with Inputs of a fixed length is exported with that length only; others are refused."""
    path, _ = saved("build_tagger")
    load = options("build_tagger", width=5, length=9)
    export_options: dict[str, Any] = {"name": "custom", "output": tmp_path, "load": load, "formats": ["onnx"]}
    exported = export_bundle(path, **export_options)
    assert exported.manifest.signatures == {"serving_default": 9}
    with pytest.raises(ExportError, match="Inputs have the fixed length 9: only a signature of that length"):
        export_bundle(path, lengths=[4], **export_options)


def test_served(saved: Any, tmp_path: Path) -> None:
    """A custom functional model without token types gives the same labels through a server as in Keras."""
    path, _ = saved("build_no_segments")
    load, text = options("build_no_segments"), "Ann is in Rome."
    export_options: dict[str, Any] = {"max_length": 16, "lengths": [], "formats": ["onnx"], "label_decoding": "argmax"}
    exported = export_bundle(path, name="custom", output=tmp_path, load=load, **export_options)
    base_path = exported.path.parent
    with serving(model_name="custom", model_base_path=base_path) as address, Client(address, "custom") as client:
        found = client.entities(text)
        assert [spec.name for spec in client.manifest().inputs] == ["input_ids", "attention_mask"]
    model = load_checkpoint(path, "custom", load)
    encoding = model.tokenizer.encode(text)
    ids = np.array([encoding.ids], np.int32)
    best = run_source(model, {"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"][0].argmax(-1)
    inside = {start for label, (start, end) in zip(best, encoding.offsets, strict=True) if start < end and label}
    assert inside == {start for start, _ in encoding.offsets if any(e.start <= start < e.end for e in found)} != set()
