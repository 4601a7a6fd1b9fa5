"""Every runtime that loads ONNX files can compute a bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bertbundle.errors import ManifestError
from bertbundle_serving.errors import ServeError
from optional import needs_openvino
from runtime_files import GRAPHS, load, write_graphs
from tiny_bundles import TinyBundles


@pytest.fixture(params=["onnx", pytest.param("openvino", marks=needs_openvino)])
def graph(request: pytest.FixtureRequest) -> str:
    """The name of a runtime that loads ONNX files."""
    name: str = request.param
    return name


def test_graph_signatures(bundles: TinyBundles, graph: str) -> None:
    """Every length in the manifest is a signature with a fixed length; bundle_info is another signature."""
    servable = load(write_graphs(bundles), graph)
    assert set(servable.signatures) == {"serving_default", "length_4", "bundle_info"}
    length_4 = servable.signatures["length_4"]
    assert length_4.inputs["input_ids"].shape == (None, 4)
    assert length_4.outputs["logits"].dtype == np.float32
    assert servable.signatures["bundle_info"].inputs["row"].shape == (None,)


def test_graph_computes_the_requested_outputs(bundles: TinyBundles, graph: str) -> None:
    """The requested outputs are returned, with their dtypes."""
    servable = load(write_graphs(bundles), graph)
    inputs = bundles.features()
    outputs = servable.run("serving_default", inputs, ["logits", "label_ids"])
    np.testing.assert_array_equal(outputs["logits"], inputs["input_ids"] * np.float32(2))
    assert outputs["label_ids"].dtype == np.int32
    assert list(servable.run("serving_default", inputs, ["label_ids"])) == ["label_ids"]


def test_graph_accepts_read_only_arrays(bundles: TinyBundles, graph: str) -> None:
    """Inputs may be read-only, such as views of a message's bytes."""
    inputs = bundles.features()
    for array in inputs.values():
        array.flags.writeable = False
    assert load(write_graphs(bundles), graph).run("serving_default", inputs, ["logits"])["logits"].shape == (2, 8)


def test_graph_needs_its_manifest(bundles: TinyBundles, graph: str) -> None:
    """A version without bundle.json does not load."""
    path = write_graphs(bundles)
    (path / "bundle.json").unlink()
    with pytest.raises(ManifestError, match=r"no bundle\.json"):
        load(path, graph)


def test_graph_and_manifest_must_agree(bundles: TinyBundles, graph: str) -> None:
    """A graph that lacks an output of the manifest does not load."""
    path = write_graphs(bundles)
    text = (path / "bundle.json").read_text(encoding="utf-8")
    (path / "bundle.json").write_text(text.replace('"logits"', '"scores"'), encoding="utf-8")
    with pytest.raises(ServeError, match=rf"{GRAPHS[graph]} and bundle\.json disagree on the outputs scores"):
        load(path, graph)


def test_graph_accepts_no_rows(bundles: TinyBundles, graph: str) -> None:
    """A call with 0 rows returns outputs with 0 rows."""
    outputs = load(write_graphs(bundles), graph).run(
        "serving_default", bundles.features(rows=0), ["logits", "label_ids"]
    )
    assert {name: (values.shape, values.dtype.name) for name, values in outputs.items()} == {
        "logits": ((0, 8), "float32"),
        "label_ids": ((0, 8), "int32"),
    }


def test_graph_computes_in_several_threads(bundles: TinyBundles, graph: str) -> None:
    """Concurrent calls do not overwrite each other's outputs."""
    servable = load(write_graphs(bundles), graph)

    def compute(seed: int) -> bool:
        inputs = {name: (values + seed) % 2 for name, values in bundles.features(rows=50).items()}
        logits = [servable.run("serving_default", inputs, ["logits"])["logits"] for _ in range(20)]
        return all(np.array_equal(values, inputs["input_ids"] * np.float32(2)) for values in logits)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compute, range(8)))
