"""OpenVINO, compared on real weights with onnxruntime, whose outputs the export compared with the source model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import InputFeatures
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.job.texts import PARITY_TEXTS, make_features
from bertbundle_export.parity.compare import Case, compare
from bertbundle_export.runners import Runner
from bertbundle_export.tasks import TASKS
from bertbundle_export.tolerance import TOLERANCES
from bertbundle_serving.runtimes import RuntimeOptions, loader
from optional import needs_openvino

pytestmark = [pytest.mark.slow, needs_openvino]


def runner(version: Path, runtime: str, precision: str) -> Runner:
    """Return a function that runs a version in a runtime."""
    servable = loader(runtime, RuntimeOptions(precision=precision))(version)

    def run(features: InputFeatures) -> Any:
        outputs = list(servable.signatures[features.signature].outputs)
        return servable.run(features.signature, features.inputs, outputs)

    return run


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["minilm", "rampart"])
def test_openvino_equals_onnxruntime(name: str, precision: str, request: pytest.FixtureRequest) -> None:
    """Every output of every signature is within the tolerance of the precision, and labels agree."""
    version: Path = request.getfixturevalue(name)
    manifest = Manifest.read(version)
    tokenizer = Tokenizer((version / "tokenizer.json").read_text(encoding="utf-8"), max_length=manifest.max_length)
    features = make_features(tokenizer, PARITY_TEXTS, signatures=manifest.signatures, inputs=manifest.inputs)
    expected = runner(version, "onnx", "float32")
    rows = compare(
        f"openvino {precision}",
        runner(version, "openvino", precision),
        [Case(batch, expected(batch)) for batch in features],
        outputs=manifest.outputs,
        task=TASKS[manifest.task],
        tolerance=TOLERANCES[precision],
    )
    for row in rows:
        print(f"{name} {precision} {row.signature} {row.output} {row.max_rel:.1e} {row.agreement:.2%}")
    assert {row.signature for row in rows} == set(manifest.signatures)
