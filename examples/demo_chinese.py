"""Train a Chinese NER model on a directory of labelled sentences, export it, serve it, and query it over gRPC.

    python examples/demo_chinese.py --data DIR [--vocab vocab.txt] [--head crf] [--seconds N]

DIR contains one file each with train, dev and test in its name, labelled BIO or BMES; dev and test are optional.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bertbundle import BertBundleError, Client, Entity
from local_server import serving
from ner_data import DataError, Sentence, read_sentences, spans

SUFFIXES = {".bio", ".bmes", ".conll", ".txt"}
TEXT_COUNT = 5

console = Console(highlight=False, soft_wrap=True)


def find_file(directory: Path, part: str) -> Path | None:
    """Return the data file with `part` (train, dev or test) in its name; None if there is none.

    Raises:
        DataError: the directory does not exist, or has several such files.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a directory. Give the directory with the train, dev and test files.")
    found = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and part in path.name)
    if len(found) > 1:
        raise DataError(f"{directory} has several {part} files: {', '.join(path.name for path in found)}. Keep one.")
    return found[0] if found else None


def find_vocabulary(directory: Path, given: Path | None) -> Path:
    """Return the given vocabulary, else vocab.txt in the data, else bert-base-chinese-vocab.txt beside the data."""
    defaults = [directory / "vocab.txt", directory.resolve().parent / "bert-base-chinese-vocab.txt"]
    found = next((path for path in ([given] if given else defaults) if path.is_file()), None)
    if found is None:
        searched = " or ".join(str(path) for path in ([given] if given else defaults))
        raise DataError(f"there is no vocabulary at {searched}. Give the vocab.txt of a Chinese BERT with --vocab.")
    return found


def choose_texts(sentences: Sequence[Sentence], max_chars: int) -> list[str]:
    """Return a few texts that fit the model, those with the most entities first."""
    fitting = [sentence for sentence in sentences if len(sentence.chars) <= max_chars]
    fitting.sort(key=lambda sentence: len(spans(sentence.labels)), reverse=True)
    return ["".join(sentence.chars) for sentence in fitting[:TEXT_COUNT]]


def tag(address: str, name: str, sentences: Sequence[Sentence]) -> None:
    """Query the server for the entities of a few sentences and print them."""
    with Client(address, name) as client:
        manifest = client.manifest()
        for text in choose_texts(sentences, manifest.max_length - 2):  # [CLS] and [SEP] take two tokens
            console.print(f"\n{text}")
            console.print(_table(client.entities(text)))


def _table(entities: Sequence[Entity]) -> Table:
    table = Table("label", "text", "start", "end", "score", box=None, header_style="dim")
    for entity in entities:
        table.add_row(entity.label, entity.text, str(entity.start), str(entity.end), f"{entity.score:.3f}")
    return table


def find_data(directory: Path) -> dict[str, Path]:
    """Return the data files by purpose; train is always among them.

    Raises:
        DataError: no directory, no train file, or several files for one purpose.
    """
    found = {part: find_file(directory, part) for part in ("train", "dev", "test")}
    if found["train"] is None:
        raise DataError(f"{directory} has no file with 'train' in its name that ends in {', '.join(sorted(SUFFIXES))}.")
    return {part: path for part, path in found.items() if path}


def run(args: argparse.Namespace) -> int:
    """Train, export, serve and tag; return the exit code."""
    data = find_data(args.data)
    options = {f"--{part}": path for part, path in data.items()}
    options |= {"--vocab": find_vocabulary(args.data, args.vocab), "--output": args.output, "--name": args.name}
    options |= {"--head": args.head, "--epochs": args.epochs, "--seconds": args.seconds}
    sentences = read_sentences(data.get("test") or data.get("dev") or data["train"])
    import train_chinese_ner  # not earlier: importing TensorFlow takes seconds, and a mistyped path should fail at once

    code = train_chinese_ner.main([str(part) for option in options.items() for part in option])
    if code:
        return code
    with serving(model_name=args.name, model_base_path=args.output / args.name) as address:
        console.print(f"serving {args.name} on {address}")
        tag(address, args.name, sentences)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="demo_chinese", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="train, dev and test files")
    parser.add_argument("--vocab", type=Path, metavar="FILE", help="default: DIR/vocab.txt")
    parser.add_argument("--head", default="dense", metavar="H", help="dense, bilstm or crf; default: %(default)s")
    parser.add_argument("--epochs", default="60", metavar="N", help="default: %(default)s")
    parser.add_argument("--seconds", default="inf", metavar="N", help="time limit of the training (default: none)")
    parser.add_argument("--output", type=Path, default=Path("models"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--name", default="chinese-ner", help="model name, default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0, or 2 for invalid input."""
    args = parse_arguments(arguments)
    try:
        return run(args)
    except BertBundleError as error:
        print(f"demo_chinese: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
