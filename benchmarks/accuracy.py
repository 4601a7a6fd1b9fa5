"""How precision affects the results of a Chinese NER model on ResumeNER's test set, by runtime and precision.

    python benchmarks/accuracy.py

Measures strict span F1 and the share of characters that get the same label as in float32, both through a server. Needs
a model and a data set that are not part of the project (see CONTRIBUTING.md); without them nothing is measured.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import Row, finish, machine, parser, rows_of
from local_server import serving
from models import data_file
from ner_data import Sentence, Span, f1, read_sentences, spans
from score_chinese_ner import served_spans

PLAIN = "onnx float32"
# Argmax decoding: constrained decoding would hide differences between the scores.
OPTIONS = ("--characters", "--label-decoding=argmax")
# Name, export flags, server flags.
VARIANTS: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    (PLAIN, ("--precision=float32",), {"runtime": "onnx", "precision": "float32"}),
    ("saved_model bfloat16", ("--precision=bfloat16",), {"runtime": "saved_model"}),
    ("saved_model int8", ("--precision=int8",), {"runtime": "saved_model"}),
    ("onnx int8", ("--precision=int8",), {"runtime": "onnx"}),
    ("openvino int8", ("--precision=int8",), {"runtime": "openvino"}),
    ("openvino bfloat16", ("--precision=bfloat16",), {"runtime": "openvino", "precision": "bfloat16"}),
)


def results_of(source: Path, sentences: Sequence[Sentence]) -> dict[str, tuple[list[Sentence], list[set[Span]]]]:
    """Export and serve each variant; return the sentences as split for the model, and the spans found in them."""
    found = {}
    with TemporaryDirectory() as scratch:
        bundles = {flags: export(source, flags, Path(scratch)) for _, flags, _ in VARIANTS}
        for name, flags, server in VARIANTS:
            with serving(model_name="ner", model_base_path=bundles[flags], **server) as address:
                found[name] = served_spans(address, "ner", sentences)
    return found


def export(source: Path, flags: tuple[str, ...], scratch: Path) -> Path:
    """Export the model unless the bundle exists; return the directory of its versions."""
    output = scratch / "".join(flags)
    if not output.exists():
        command = [sys.executable, "-m", "bertbundle_export", str(source), "--name=ner", f"--output={output}"]
        subprocess.run([*command, *OPTIONS, *flags], check=True, stdout=subprocess.DEVNULL)
    return output / "ner"


def labels(length: int, found: set[Span]) -> list[str]:
    """Return one label per character, for a text of this length."""
    result = ["O"] * length
    for label, start, end in found:
        result[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return result


def agreement(pieces: Sequence[Sentence], found: Sequence[set[Span]], plain: Sequence[set[Span]]) -> float:
    """Return the share of characters with the same label in both results."""
    same = total = 0
    for piece, ours, theirs in zip(pieces, found, plain, strict=True):
        pairs = list(zip(labels(len(piece.chars), ours), labels(len(piece.chars), theirs), strict=True))
        same += sum(one == other for one, other in pairs)
        total += len(pairs)
    return same / total


def report(found: dict[str, tuple[list[Sentence], list[set[Span]]]]) -> list[Row]:
    """Compare each variant with the gold labels and with float32."""
    plain = found[PLAIN][1]
    scores = {
        name: [100 * f1([spans(piece.labels) for piece in pieces], result)] for name, (pieces, result) in found.items()
    }
    same = {name: [100 * agreement(pieces, result, plain)] for name, (pieces, result) in found.items()}
    return rows_of("ResumeNER, F1", "points", scores, PLAIN) + rows_of("ResumeNER, labels", "% same", same, PLAIN)


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    facts = machine()
    source, data = data_file("models/resume-ner-3x128"), data_file("data/resume-ner/test.char.bmes")
    if not (source.exists() and data.exists()):
        print(f"accuracy: not measured, because {source} or {data} does not exist. Set BERTBUNDLE_DATA.")
        return
    finish("accuracy", options, facts, report(results_of(source, read_sentences(data))))


if __name__ == "__main__":
    main()
