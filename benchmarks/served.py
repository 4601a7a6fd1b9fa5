"""How fast a server answers single sentences over gRPC: ours, and TFBert as saved with every sentence padded to 128.

    python benchmarks/served.py --size base

Both are on the embedded server with batching, both are up all the time and are asked in turns, by 1 to 32 callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bertbundle.transport import GrpcTransport
from bertbundle_export import LoadOptions, export_bundle
from frame import Row, finish, machine, parser, rows_of, seconds_in_turns
from models import MAX_LENGTH, PEER, checkpoint, features, save_usual, sentence_lengths, serving, signatures

CALLERS = (1, 8, 32)
OURS = "bundle"
SECONDS = 300.0

Ask = Callable[[int], object]


def asker(address: str, names: dict[int, str], output: str) -> Ask:
    """Return what asks a server for a sentence of so many tokens, padded to the shortest signature that holds it."""
    transport = GrpcTransport(address)

    def ask(tokens: int) -> object:
        length = min(length for length in names if length >= tokens)
        return transport.predict("bench", names[length], features(1, length), outputs=[output], timeout=SECONDS)

    return ask


def ask_all(ask: Ask, lengths: Sequence[int], callers: int) -> None:
    """Ask for every sentence, by so many callers."""
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(ask, lengths))


def measure(asks: dict[str, Ask], rounds: int, sentences: int) -> list[Row]:
    """Measure each number of callers."""
    lengths, whose = sentence_lengths()
    lengths = lengths[:sentences]
    found = []
    for callers in CALLERS:
        calls = {name: partial(ask_all, ask, lengths, callers) for name, ask in asks.items()}
        _, seconds = seconds_in_turns(calls, rounds)
        speeds = {name: [len(lengths) / second for second in taken] for name, taken in seconds.items()}
        found += rows_of(f"{callers} callers, {whose}", "seq/s", speeds, PEER)
    return found


def export(source: Path) -> Path:
    """Export a checkpoint; return the version directory."""
    load = LoadOptions(pooling="mean")
    return export_bundle(source, name="bench", output=source.parent, max_length=MAX_LENGTH, load=load).path


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--sentences", type=int, default=64, help="of natural length")
    options = arguments.parse_args()
    facts = machine()
    with checkpoint(options.size) as source:
        usual, ours = save_usual(source), export(source)
        common = {"model_name": "bench", "enable_batching": "true"}
        with (
            serving(model_base_path=usual.parent, runtime="saved_model", **common) as usual_address,
            serving(model_base_path=ours.parent, **common) as our_address,
        ):
            asks = {
                PEER: asker(usual_address, {MAX_LENGTH: "serving_default"}, "pooler_output"),
                OURS: asker(our_address, signatures(ours), "sentence_embedding"),
            }
            rows = measure(asks, options.rounds, options.sentences)
    finish("served", options, facts, rows)


if __name__ == "__main__":
    main()
