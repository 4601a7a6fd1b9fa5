"""Speed on an NVIDIA GPU of TFBert as transformers saves it, also with XLA and mixed precision, and of bundles.

    python benchmarks/gpu.py --size base

Without a GPU that both TensorFlow and onnxruntime can use, it says why and measures nothing. ``--device cpu`` makes the
same comparison on the CPU, to try the benchmark out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bertbundle_export.tensorflow_import import tf
from bertbundle_serving.runtimes import RUNTIMES, RuntimeOptions, loader
from engine import Engine, call_at_once, usual
from harness import Row, finish, interleaved_seconds, machine, parser, rows_of
from models import MAX_LENGTH, PEER, Features, Models, features, open_models, output, signatures

# Rows, length, concurrent callers.
SHAPES = ((1, 32, 1), (1, MAX_LENGTH, 1), (32, MAX_LENGTH, 1), (256, MAX_LENGTH, 1), (32, MAX_LENGTH, 4))
# Name, bundle, runtime.
OURS = (
    ("saved_model float32", "float32", "saved_model"),
    ("onnx float32", "bfloat16", "onnx"),
    ("onnx float16", "float16", "onnx"),
)


def problem() -> str:
    """Return why TensorFlow or onnxruntime cannot use a GPU; empty if both can."""
    checks = [runtime.cuda_problem for runtime in RUNTIMES if runtime.cuda_problem is not None]
    return next((found for check in checks if (found := check())), "")


def on_device(version: Path, runtime: str, device: str) -> Engine:
    """Load a bundle on a device; each input runs through the signature of its length."""
    servable = loader(runtime, RuntimeOptions(device=device))(version)
    names, outputs = signatures(version), [output(version)]
    return lambda inputs: servable.run(names[inputs["input_ids"].shape[1]], inputs, outputs)


def with_xla(version: Path) -> Engine:
    """Load TFBert as saved, and compile it with XLA."""
    loaded = tf.saved_model.load(str(version))
    call = tf.function(loaded.signatures["serving_default"], jit_compile=True)

    def run(inputs: Features) -> object:
        assert loaded  # the function only has weak references to its variables  # noqa: S101
        return call(**{name: tf.constant(value) for name, value in inputs.items()})[output(version)].numpy()

    return run


def with_mixed_precision(run: Engine) -> Engine:
    """Call an engine with TensorFlow's auto mixed precision in float16."""

    def mixed(inputs: Features) -> object:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision": True})
        try:
            return run(inputs)
        finally:
            tf.config.optimizer.set_experimental_options({"auto_mixed_precision": False})

    return mixed


def engines(models: Models, device: str) -> dict[str, Engine]:
    """Return the peers and the bundles."""
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision": False})  # unset would be a third state
    peer = models.get("usual")
    peers = {
        PEER: usual(peer),
        "TFBert, XLA": with_xla(peer),
        "TFBert, mixed precision": with_mixed_precision(usual(peer)),
    }
    return peers | {name: on_device(models.get(bundle), runtime, device) for name, bundle, runtime in OURS}


def measure(found: dict[str, Engine], rounds: int) -> list[Row]:
    """Measure each shape."""
    rows = []
    for count, length, callers in SHAPES:
        call = partial(call_at_once, features(count, length), callers)
        first, durations = interleaved_seconds({name: partial(call, run) for name, run in found.items()}, rounds)
        sequences = count if callers == 1 else 2 * callers * count
        speeds = {name: [sequences / second for second in each] for name, each in durations.items()}
        case = f"[{count}, {length}]" if callers == 1 else f"[{count}, {length}] x {callers} callers"
        rows += rows_of(case, "seq/s", speeds, PEER)
        rows += rows_of(f"{case} first", "s", {name: [each] for name, each in first.items()}, PEER, less=True)
    return rows


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = arguments.parse_args()
    if options.device == "cuda" and (reason := problem()):
        print(f"gpu.py measures nothing: {reason}.")
        return
    with open_models(options) as models:
        finish("gpu", options, machine(), measure(engines(models, options.device), options.rounds))


if __name__ == "__main__":
    main()
