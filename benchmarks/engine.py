"""How fast the engines are in one process: TFBert as transformers saves it, and ours by runtime and precision.

    python benchmarks/engine.py --size base

Sequences per second at fixed shapes and on sentences of natural length (the peer pads them to 128, as its signature of
old; ours takes the shortest length that holds them), the seconds of a first call, and the share of what the best
product of two matrices reaches on the same cores in the same run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.quiet import tf
from bertbundle_serving.runtimes import RUNTIMES, RuntimeOptions, loader
from frame import Row, finish, machine, parser, rows_of, seconds_in_turns
from models import (
    MAX_LENGTH,
    PEER,
    SIZES,
    Features,
    checkpoint,
    features,
    save_usual,
    sentence_lengths,
    signatures,
)

SHAPES = ((1, 32), (1, MAX_LENGTH), (32, MAX_LENGTH))
ROWS = 32
OUTPUT = "sentence_embedding"
# Name, bundle, runtime, precision of the computation.
OURS = (
    ("saved_model float32", "float32", "saved_model", "bundle"),
    ("saved_model bfloat16", "bfloat16", "saved_model", "bundle"),
    ("onnx float32", "float32", "onnx", "float32"),
    ("openvino float32", "float32", "openvino", "float32"),
    ("openvino bfloat16", "float32", "openvino", "bfloat16"),
)

Engine = Callable[[Features], object]


def peer(source: Path) -> Engine:
    """Save a checkpoint the usual way, and load it."""
    loaded = tf.saved_model.load(str(save_usual(source)))
    call = loaded.signatures["serving_default"]

    def run(inputs: Features) -> object:
        assert loaded  # the function holds its variables weakly  # noqa: S101
        return call(**{name: tf.constant(value) for name, value in inputs.items()})["pooler_output"].numpy()

    return run


def ours(source: Path) -> tuple[dict[str, Engine], dict[int, str]]:
    """Export a checkpoint in both precisions, and load it with every runtime; give the signatures, too."""
    versions = {}
    for precision, formats in (("float32", ("saved_model", "onnx")), ("bfloat16", ("saved_model",))):
        base = source.parent / precision
        options: dict[str, Any] = {"max_length": MAX_LENGTH, "formats": formats, "load": LoadOptions(pooling="mean")}
        versions[precision] = export_bundle(source, name="bench", output=base, precision=precision, **options).path
    names = signatures(versions["float32"])
    engines: dict[str, Engine] = {}
    installed = [runtime.name for runtime in RUNTIMES if find_spec(runtime.package)]
    for name, bundle, runtime, precision in OURS:
        if runtime not in installed:
            continue
        servable = loader(runtime, RuntimeOptions(precision=precision))(versions[bundle])

        def run(inputs: Features, servable: Any = servable) -> object:
            return servable.run(names[inputs["input_ids"].shape[1]], inputs, [OUTPUT])

        engines[name] = run
    return engines, names


def limit(size: str, dtype: Any) -> Engine:
    """Return what does as many operations as the encoder does, all in products of two large matrices."""
    config = SIZES[size]
    hidden, inner = config["hidden_size"], config["intermediate_size"]

    def run(inputs: Features) -> object:
        rows, length = inputs["input_ids"].shape
        product = 2 * rows * length * hidden * inner
        layer = 2 * rows * length * (4 * hidden**2 + 2 * hidden * inner) + 4 * rows * length**2 * hidden
        left, right = tf.ones([rows * length, hidden], dtype), tf.ones([hidden, inner], dtype)
        for _ in range(round(config["num_hidden_layers"] * layer / product)):
            last = tf.matmul(left, right)
        return last[0, 0].numpy()

    return run


def fixed_shapes(engines: Mapping[str, Engine], size: str, rounds: int) -> list[Row]:
    """Measure each shape; the largest also against the limit."""
    limits = {f"limit: {dtype.name} product": limit(size, dtype) for dtype in (tf.float32, tf.bfloat16)}
    found = []
    for rows, length in SHAPES:
        inputs = features(rows, length)
        all_engines = {**engines, **(limits if rows > 1 else {})}
        calls = {name: partial(run, inputs) for name, run in all_engines.items()}
        first, seconds = seconds_in_turns(calls, rounds)
        speeds = {name: [rows / second for second in taken] for name, taken in seconds.items()}
        found += rows_of(f"[{rows}, {length}]", "seq/s", speeds, PEER)
        once = {name: [first[name]] for name in engines}
        found += rows_of(f"[{rows}, {length}] first", "s", once, PEER, less=True)
    return found


def natural_lengths(engines: Mapping[str, Engine], names: Mapping[int, str], rounds: int, sentences: int) -> list[Row]:
    """Measure sentences: the peer's padded to 128, ours to the shortest length that holds them."""
    lengths, whose = sentence_lengths()
    lengths = lengths[:sentences]
    fitting = [min(length for length in names if length >= tokens) for tokens in lengths]
    padded = batches([MAX_LENGTH] * len(lengths))
    short = batches(fitting)
    calls = {name: partial(run_all, run, padded if name == PEER else short) for name, run in engines.items()}
    _, seconds = seconds_in_turns(calls, rounds)
    speeds = {name: [len(lengths) / second for second in taken] for name, taken in seconds.items()}
    return rows_of(f"natural lengths of {whose}", "seq/s", speeds, PEER)


def batches(lengths: Sequence[int]) -> list[Features]:
    """Return batches of at most `ROWS` rows, each of one length."""
    return [
        features(min(ROWS, count - begin), length)
        for length, count in sorted(Counter(lengths).items())
        for begin in range(0, count, ROWS)
    ]


def run_all(run: Engine, work: Sequence[Features]) -> None:
    """Run an engine over batches."""
    for inputs in work:
        run(inputs)


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--sentences", type=int, default=128, help="of natural length")
    options = arguments.parse_args()
    facts = machine()
    with checkpoint(options.size) as source:
        usual = peer(source)
        engines, names = ours(source)
        engines = {PEER: usual, **engines}
        rows = fixed_shapes(engines, options.size, options.rounds)
        rows += natural_lengths(engines, names, options.rounds, options.sentences)
    finish("engine", options, facts, rows)


if __name__ == "__main__":
    main()
