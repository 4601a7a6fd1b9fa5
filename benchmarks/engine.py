"""In-process speed of TFBert as transformers saves it, and of bundles by runtime and precision.

    python benchmarks/engine.py --size base

Measures sequences per second for fixed shapes and for sentences of natural length (TFBert pads them to 128, the bundle
to its shortest signature that fits), the duration of the first call, and the throughput relative to the fastest matrix
products (limits.py) on the same cores in the same run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from bertbundle._shared.cores import available_cores
from bertbundle_export.tensorflow_import import tf
from bertbundle_serving.runtimes import RUNTIMES, RuntimeOptions, loader
from harness import Row, finish, interleaved_seconds, machine, parser, rows_of
from limits import fastest_product
from models import (
    MAX_LENGTH,
    PEER,
    SIZES,
    Features,
    Models,
    features,
    open_models,
    output,
    sentence_lengths,
    signatures,
)

# Rows, length, concurrent callers. A single caller sends one request, several callers send two each.
SHAPES = ((1, 32, 1), (1, MAX_LENGTH, 1), (32, MAX_LENGTH, 1), (8, MAX_LENGTH, 2))
LARGEST = (32, MAX_LENGTH, 1)
ROWS = 32
MIXED = "TFBert, mixed precision"
LIMIT = "limit: bfloat16 product"
# Name, bundle, runtime, compute precision.
OURS = (
    ("saved_model float32", "float32", "saved_model", "bundle"),
    ("saved_model bfloat16", "bfloat16", "saved_model", "bundle"),
    ("saved_model int8", "int8", "saved_model", "bundle"),
    ("onnx float32", "bfloat16", "onnx", "float32"),
    ("openvino float32", "bfloat16", "openvino", "float32"),
    ("openvino bfloat16", "bfloat16", "openvino", "bfloat16"),
    ("onnx int8", "int8", "onnx", "bundle"),
    ("openvino int8", "int8", "openvino", "bundle"),
)

Engine = Callable[[Features], object]


def usual(version: Path) -> Engine:
    """Load TFBert as transformers saves it."""
    switch_mixed(on=False)  # set explicitly: an unset option would be a third state, optimized separately
    loaded = tf.saved_model.load(str(version))
    call = loaded.signatures["serving_default"]

    def run(inputs: Features) -> object:
        assert loaded  # the function only has weak references to its variables  # noqa: S101
        return call(**{name: tf.constant(value) for name, value in inputs.items()})[output(version)].numpy()

    return run


def calls_of(engines: Mapping[str, Engine], call: Callable[[Engine], object]) -> dict[str, Callable[[], object]]:
    """Return a call per engine, and another one for the peer with ``--mixed_precision=bfloat16``."""
    calls = {name: partial(call, run) for name, run in engines.items()}
    return {PEER: calls[PEER], MIXED: partial(mixed, calls[PEER]), **calls}


def mixed(call: Callable[[], object]) -> None:
    """Call with TensorFlow's auto mixed precision. TensorFlow optimizes each function once per setting."""
    switch_mixed(on=True)
    try:
        call()
    finally:
        switch_mixed(on=False)


def switch_mixed(*, on: bool) -> None:
    """Switch TensorFlow's auto mixed precision on or off for the following calls."""
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": on})


def ours(models: Models) -> dict[str, Engine]:
    """Load the bundles with every installed runtime."""
    installed = [runtime.name for runtime in RUNTIMES if find_spec(runtime.package)]
    return {
        name: engine(models.get(bundle), runtime, precision)
        for name, bundle, runtime, precision in OURS
        if runtime in installed
    }


def engine(version: Path, runtime: str, precision: str = "bundle") -> Engine:
    """Load a bundle; each input runs through the signature of its length."""
    servable = loader(runtime, RuntimeOptions(threads=available_cores(), precision=precision))(version)
    names, outputs = signatures(version), [output(version)]

    def run(inputs: Features) -> object:
        return servable.run(names[inputs["input_ids"].shape[1]], inputs, outputs)

    return run


def limit(size: str, dtype: str) -> Engine:
    """Return a function with as many operations as the encoder, all of them in the fastest matrix product."""
    hidden, inner = SIZES[size]["hidden_size"], SIZES[size]["intermediate_size"]
    product, operations = fastest_product(dtype)

    def run(inputs: Features) -> object:
        rows, length = inputs["input_ids"].shape
        layer = 2 * rows * length * (4 * hidden**2 + 2 * hidden * inner) + 4 * rows * length**2 * hidden
        for _ in range(max(1, round(SIZES[size]["num_hidden_layers"] * layer / operations))):
            product()
        return None

    return run


def fixed_shapes(engines: Mapping[str, Engine], size: str, rounds: int) -> list[Row]:
    """Measure each shape; the largest one also relative to the limit."""
    limits = {f"limit: {dtype} product": limit(size, dtype) for dtype in ("float32", "bfloat16")}
    found = []
    for shape in SHAPES:
        rows, length, callers = shape
        variants = {**engines, **(limits if shape == LARGEST else {})}
        calls = calls_of(variants, partial(call_at_once, features(rows, length), callers))
        first, durations = interleaved_seconds(calls, rounds)
        sequences = rows if callers == 1 else 2 * callers * rows
        speeds = {name: [sequences / second for second in each] for name, each in durations.items()}
        case = f"[{rows}, {length}]" if callers == 1 else f"[{rows}, {length}] x {callers} callers"
        found += rows_of(case, "seq/s", speeds, PEER)
        found += rows_of(f"{case} first", "s", {name: [first[name]] for name in (*engines, MIXED)}, PEER, less=True)
        if LIMIT in speeds:
            found += rows_of(f"{case} of the limit", "seq/s", speeds, LIMIT)
    return found


def call_at_once(inputs: Features, callers: int, run: Engine) -> None:
    """Call an engine; several callers call it twice each, so that their calls overlap."""
    if callers == 1:
        run(inputs)
        return
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(run, [inputs] * 2 * callers))


def natural_lengths(engines: Mapping[str, Engine], names: Mapping[int, str], rounds: int, sentences: int) -> list[Row]:
    """Measure sentences, padded to 128 for TFBert, and to the shortest signature that fits for the bundles."""
    lengths, dataset = sentence_lengths()
    lengths = lengths[:sentences]
    short = batches([min(length for length in names if length >= tokens) for tokens in lengths])
    work = dict.fromkeys(engines.values(), short) | {engines[PEER]: batches([MAX_LENGTH] * len(lengths))}
    calls = calls_of(engines, lambda run: [run(inputs) for inputs in work[run]])
    _, durations = interleaved_seconds(calls, rounds)
    speeds = {name: [len(lengths) / second for second in each] for name, each in durations.items()}
    computed = {name: [sum(inputs["input_ids"].size for inputs in work[run])] for name, run in engines.items()}
    tokens = rows_of(f"tokens computed of {dataset}", "tokens", computed, PEER, less=True)
    return rows_of(f"natural lengths of {dataset}", "seq/s", speeds, PEER) + tokens


def batches(lengths: Sequence[int]) -> list[Features]:
    """Return batches of at most `ROWS` rows, one length per batch."""
    return [
        features(min(ROWS, count - begin), length)
        for length, count in sorted(Counter(lengths).items())
        for begin in range(0, count, ROWS)
    ]


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--sentences", type=int, default=96, help="number of sentences (default: %(default)s)")
    options = arguments.parse_args()
    facts = machine()
    with open_models(options) as models:
        engines = {PEER: usual(models.get("usual")), **ours(models)}
        rows = fixed_shapes(engines, options.size, options.rounds)
        rows += natural_lengths(engines, signatures(models.get("bfloat16")), options.rounds, options.sentences)
    finish("engine", options, facts, rows)


if __name__ == "__main__":
    main()
