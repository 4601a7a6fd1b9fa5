"""Embeddings: sentence-transformers with each of its backends, compared with bundles through gRPC.

    build/peers/bin/python benchmarks/peers.py --ours .venv/bin/python

``make bench-peers`` creates both environments and runs this script. Both sides use the weights of all-MiniLM-L6-v2. The
texts are the sentences of WNUT17's test set, or the exporter's parity texts if the data directory does not contain it.
The peers run in this process, with the ONNX and OpenVINO files that optimum exports; int8 is sentence-transformers'
quantization for AVX512-VNNI. The bundles are exported in the precision that is fast on this processor and in int8, and
served by processes of the project's environment; the measured time includes the client's tokenization. All results are
compared with torch's before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bertbundle import Client, PredictCall
from bertbundle.contract.manifest import BUNDLE_INFO
from bertbundle.contract.types import Prediction
from bertbundle.transports.local import LocalTransport
from bertbundle_serving.runtimes import RuntimeOptions, loader
from harness import finish, interleaved_seconds, machine, parser, rows_of
from local_server import running
from models import data_file
from real_weights import fetch

MODEL = "all-MiniLM-L6-v2"
LENGTHS = ",".join(map(str, range(8, 129, 8)))
PEER = "openvino bfloat16"
INT8 = "avx512_vnni"
BATCH = 32
MIN_SIMILARITY = 0.97
"""Minimum cosine similarity with torch in float32; int8 and bfloat16 clearly exceed it, another model does not."""

# Arguments of SentenceTransformer by name; "bf16" is OpenVINO's name of the precision.
PEERS: dict[str, dict[str, Any]] = {
    "torch float32": {},
    "torch bfloat16": {"model_kwargs": {"torch_dtype": "bfloat16"}},
    "onnx float32": {"backend": "onnx", "model_kwargs": {"file_name": "model.onnx"}},
    "onnx int8": {"backend": "onnx", "model_kwargs": {"file_name": f"model_qint8_{INT8}.onnx"}},
    "openvino float32": {
        "backend": "openvino",
        "model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}},
    },
    PEER: {"backend": "openvino", "model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "bf16"}}},
}
# Precision of the bundle and flags of the server, by name. "auto" is bfloat16 where that is fast.
OURS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bundle, gRPC, auto": ("auto", ()),
    "bundle, gRPC, int8": ("int8", ()),
    "bundle, gRPC, saved_model": ("auto", ("--runtime=saved_model",)),
}

Embed = Callable[[Sequence[str]], Any]


def texts() -> tuple[list[str], str]:
    """Return sentences and the name of their data set."""
    data = data_file("data/wnut17/test.conll")
    if not data.is_file():
        from bertbundle_export.job.texts import PARITY_TEXTS

        return [*PARITY_TEXTS] * 40, "parity texts"
    blocks = data.read_text(encoding="utf-8").split("\n\n")
    return [" ".join(line.split("\t")[0] for line in block.splitlines()) for block in blocks if block.strip()], "WNUT17"


def peers(source: Path, scratch: Path) -> dict[str, Embed]:
    """Export the files of every backend of sentence-transformers and load them."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    target = str(shutil.copytree(source, scratch / "peers"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' tracing warns
        exported = SentenceTransformer(target, backend="onnx")
        exported.save_pretrained(target)
        export_dynamic_quantized_onnx_model(exported, INT8, target)
        loaded = {name: SentenceTransformer(target, device="cpu", **options) for name, options in PEERS.items()}
    options = {"batch_size": BATCH, "show_progress_bar": False, "convert_to_numpy": True}
    return {name: partial(model.encode, **options) for name, model in loaded.items()}


@contextlib.contextmanager
def ours(python: Path, source: Path, scratch: Path) -> Iterator[dict[str, Embed]]:
    """Export and serve with the project's environment; yield a function per server that embeds texts."""
    with contextlib.ExitStack() as stack:
        embeds: dict[str, Embed] = {}
        for name, (precision, flags) in OURS.items():
            base = scratch / precision / "minilm"
            if not base.exists():
                export(python, source, base, precision)
            command = [str(python), "-m", "bertbundle_serving", "--port=0", "--model_name=minilm", *flags]
            address = stack.enter_context(running([*command, f"--model_base_path={base}"]))
            client = stack.enter_context(Client(address, "minilm", timeout=300))
            embeds[name] = partial(client.embed)
        in_process = Client("", "minilm", transport=InProcess(scratch / "auto" / "minilm"), concurrency=1)
        yield embeds | {"bundle, in process, auto": partial(stack.enter_context(in_process).embed)}


class InProcess(LocalTransport):
    """A transport that runs the server's engine in the calling thread."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self._servable = loader("auto", RuntimeOptions())(base / str(self.version))

    def predict(self, call: PredictCall, **options: Any) -> Prediction:
        """See `Transport.predict`."""
        if call.signature == BUNDLE_INFO:
            return super().predict(call, **options)
        return Prediction(self._servable.run(call.signature, call.inputs, call.outputs), self.version)


def export(python: Path, source: Path, base: Path, precision: str) -> None:
    """Export MiniLM in a precision with the project's environment."""
    # sentence-transformers truncates at 256 tokens for this model.
    options = [f"--name={base.name}", f"--output={base.parent}", "--max-length=256", f"--lengths={LENGTHS}"]
    command = [str(python), "-m", "bertbundle_export", str(source), *options, f"--precision={precision}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def check(embeds: dict[str, Embed], sentences: Sequence[str]) -> None:
    """Compare the results of every variant with those of the first one.

    Raises:
        SystemExit: a variant returns something else.
    """
    expected = np.asarray(next(iter(embeds.values()))(sentences), np.float32)
    for name, embed in embeds.items():
        found = np.asarray(embed(sentences), np.float32)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        cosine = float(np.min(np.sum(found * expected, axis=1) / norms))
        print(f"{name}: minimum cosine similarity with torch float32: {cosine:.4f}")
        if cosine < MIN_SIMILARITY:
            raise SystemExit(f"{name} returns different embeddings from torch: cosine similarity {cosine:.3f}")


def main() -> None:
    """Run the benchmark."""
    arguments: argparse.ArgumentParser = parser(__doc__)
    arguments.add_argument(
        "--ours", type=Path, required=True, metavar="PYTHON", help="the Python of the project's environment"
    )
    arguments.add_argument("--sentences", type=int, help="maximum number of sentences (default: all)")
    options = arguments.parse_args()
    facts = machine() | {name: version(name) for name in ("sentence-transformers", "torch", "optimum", "openvino")}
    sentences, dataset = texts()
    sentences = sentences[: options.sentences]
    source = fetch(MODEL)
    # Not resolved: the interpreter of a virtual environment is a link, whose directory identifies the environment.
    with TemporaryDirectory() as scratch, ours(options.ours.absolute(), source, Path(scratch)) as served:
        embeds = peers(source, Path(scratch)) | served
        check(embeds, sentences[:BATCH])
        together = {name: partial(embed, sentences) for name, embed in embeds.items()}
        _, durations = interleaved_seconds(together, options.rounds)
        speeds = {name: [len(sentences) / second for second in each] for name, each in durations.items()}
        rows = rows_of(f"embeddings of {dataset}", "texts/s", speeds, PEER)
        singly = {name: partial(one_by_one, embed, sentences[:BATCH]) for name, embed in embeds.items()}
        _, durations = interleaved_seconds(singly, options.rounds)
        milliseconds = {name: [second / BATCH * 1e3 for second in each] for name, each in durations.items()}
        rows += rows_of(f"one text of {dataset} at a time", "ms", milliseconds, PEER, less=True)
    finish("peers", options, facts, rows)


def one_by_one(embed: Embed, sentences: Sequence[str]) -> None:
    """Embed texts one at a time."""
    for sentence in sentences:
        embed([sentence])


if __name__ == "__main__":
    main()
