"""Every combination of format and task that docs/support-matrix.md ticks is exported, served and called."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert4keras_heads import efficient_logits, efficient_weights, pointer_logits, pointer_weights, write_bert4keras
from bertbundle import Client
from bertbundle_export import LoadOptions, export_bundle
from google_checkpoints import tagger_weights, tf1_weights, with_pooler, write_hub, write_tf1
from kashgari_models import write_kashgari
from keras_archives import as_archive
from keras_files import (
    as_bert4keras,
    as_bert_for_tf2,
    as_keras_bert,
    as_keras_h5,
    as_saved_model,
    bert4keras,
    checkpoint_weights,
    write_beside,
    write_h5,
)
from local_server import serving
from paths import ROOT
from tiny_checkpoints import Weights, pytorch_weights, vocabulary, write_checkpoint

pytestmark = pytest.mark.slow

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SPANS = ("PER", "LOC", "ORG")
TEXT, OTHER, MASKED = "Ann is in Rome.", "He is in Paris.", "Ann is {mask} Rome."
HEADS = {
    "token-classification": ("ForTokenClassification", LABELS),
    "text-classification": ("ForSequenceClassification", LABELS),
    "regression": ("ForSequenceClassification", ("LABEL_0",)),
    "feature-extraction": ("Model", LABELS),
    "question-answering": ("ForQuestionAnswering", ("LABEL_0", "LABEL_1")),
    "fill-mask": ("ForMaskedLM", LABELS),
}
_CHECKPOINTS = {**HEADS, "span-classification": ("Model", SPANS)}
Source = Callable[[Path, Path], tuple[Path, dict[str, Any]]]


def unchanged(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Return a Hugging Face directory unchanged."""
    del directory
    return path, {}


def archived(directory: Path, kind: str) -> Path:
    """Return an archive of a directory, as Google publishes both formats."""
    return Path(shutil.make_archive(str(directory), kind, directory))


def as_tf1(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite a Hugging Face directory as Google's checkpoint, which has neither task nor labels."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    labels = tuple(config.pop("id2label", {"0": "LABEL_0", "1": "LABEL_1"}).values())
    (architecture,) = config.pop("architectures")
    heads = {(head, len(labels)): task for task, (head, labels) in HEADS.items()}
    task = heads[architecture.removeprefix("Bert"), len(labels)]
    write_tf1(directory, tf1_weights(pytorch_weights(path)), config, vocabulary())
    return archived(directory, "zip"), {"task": task, "labels": labels if task.endswith("-classification") else None}


def as_tf1_tagger(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite a Hugging Face directory as a tagger with a CRF after Google's BERT."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    weights = tagger_weights(tf1_weights(pytorch_weights(path)))
    write_tf1(directory, weights, config, vocabulary(), prefix="model.ckpt-9")
    return directory, {"labels": LABELS, "label_decoding": "auto"}


def as_hub(style: str, path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite a Hugging Face directory as TF Hub's SavedModel in one style."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    write_hub(directory, with_pooler(tf1_weights(pytorch_weights(path))), config, vocabulary(), style=style)
    task = "fill-mask" if config["architectures"] == ["BertForMaskedLM"] else "feature-extraction"
    return archived(directory, "gztar"), {"task": task, "load": LoadOptions(init_args={"num_attention_heads": 2})}


def as_kashgari(path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite a Hugging Face directory as one of Kashgari, with a tokenizer of word pieces, as the checks have it."""
    write_kashgari(directory, "BiLSTM", layers=[("Dense", "dense", {"units": len(LABELS)})], labels=LABELS)
    weights = checkpoint_weights(path)
    write_h5(
        directory / "model_weights.h5",
        {name.replace("classifier.", "dense."): value for name, value in weights.items()},
        bert4keras,
    )
    return directory, {"tokenizer": path, "task": None if "classifier.weight" in weights else "feature-extraction"}


POINTERS: Mapping[str, tuple[Weights, Callable[..., Any]]] = {
    "GlobalPointer": (pointer_weights(len(SPANS), 8), pointer_logits),
    "EfficientGlobalPointer": (efficient_weights(len(SPANS), 8), efficient_logits),
}


def as_pointer(kind: str, path: Path, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Rewrite the encoder of a Hugging Face directory as the weights of a bert4keras model with a head for spans."""
    encoder = {name: value for name, value in checkpoint_weights(path).items() if "pooler" not in name}
    file = write_bert4keras(directory / "model.weights", POINTERS[kind][0], encoder=encoder)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    write_beside(file, config)
    stated = {"RoPE": True, "head_size": 8}
    return file, {"labels": SPANS, "load": LoadOptions(init_args=stated), "top_k": 500}


# Row of docs/support-matrix.md: stem of the transformers class, the function that writes the source, the tasks.
ROWS: Mapping[str, tuple[str, Source, tuple[str, ...]]] = {
    "Hugging Face: BERT": ("Bert", unchanged, tuple(HEADS)),
    "Hugging Face: DistilBERT": ("DistilBert", unchanged, tuple(HEADS)),
    "Hugging Face: RoBERTa": ("Roberta", unchanged, tuple(HEADS)),
    "Hugging Face: ELECTRA": ("Electra", unchanged, tuple(HEADS)),
    "Hugging Face: ALBERT": ("Albert", unchanged, tuple(HEADS)),
    "Keras .h5 around TFBertMainLayer": ("Bert", as_keras_h5, tuple(HEADS)),
    "Keras SavedModel": ("Bert", as_saved_model, tuple(HEADS)),
    "keras-bert .h5": ("Bert", as_keras_bert, tuple(HEADS)),
    "bert4keras .h5": ("Bert", as_bert4keras, tuple(HEADS)),
    "bert4keras .h5, GlobalPointer": (
        "Bert",
        functools.partial(as_pointer, "GlobalPointer"),
        ("span-classification",),
    ),
    "bert4keras .h5, EfficientGlobalPointer": (
        "Bert",
        functools.partial(as_pointer, "EfficientGlobalPointer"),
        ("span-classification",),
    ),
    "bert-for-tf2 .h5": (
        "Bert",
        as_bert_for_tf2,
        ("token-classification", "feature-extraction", "question-answering"),
    ),
    "Kashgari directory": ("Bert", as_kashgari, ("token-classification", "feature-extraction")),
    "keras-hub .keras": ("Bert", as_archive, ("text-classification", "feature-extraction")),
    "Google TF1 checkpoint": ("Bert", as_tf1, tuple(HEADS)),
    "TF1 tagger with a CRF": ("Bert", as_tf1_tagger, ("token-classification",)),
    "TF Hub, called with a list": ("Bert", functools.partial(as_hub, "list"), ("feature-extraction",)),
    "TF Hub, called with a dict": ("Bert", functools.partial(as_hub, "dict"), ("feature-extraction", "fill-mask")),
    "TF1 Hub module": ("Bert", functools.partial(as_hub, "module"), ("feature-extraction", "fill-mask")),
}
# Settings of the models of a row. In some packages, gelu is the tanh approximation. Keras traces each layer of a
# SavedModel many times: one layer is enough here, as those formats have tests with more of their own.
ONE_LAYER: Mapping[str, Any] = {"num_hidden_layers": 1}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "keras-bert .h5": {"hidden_act": "gelu_new"},
    "bert-for-tf2 .h5": {"hidden_act": "gelu_new"},
    "keras-hub .keras": {"hidden_act": "gelu_new"},
    "Keras SavedModel": ONE_LAYER,
    "TF Hub, called with a list": ONE_LAYER,
    "TF Hub, called with a dict": ONE_LAYER,
    "TF1 Hub module": ONE_LAYER,
}
# The formats whose files do not state task and labels: they must be given.
WITHOUT_TASK = (
    "Keras .h5 around TFBertMainLayer",
    "keras-bert .h5",
    "bert4keras .h5",
    "bert-for-tf2 .h5",
    "keras-hub .keras",
)
_POOLINGS = {"text-classification": "pooler", "regression": "pooler"}
CASES = [(row, task) for row, (_, _, tasks) in ROWS.items() for task in tasks]


class Matrix:
    """The sources and their bundles."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failed: dict[str, Exception] = {}
        for row, task in CASES:
            try:
                self._export(row, task)
            except Exception as error:  # noqa: BLE001, PERF203 - raised in the test of this case
                self.failed[self.name(row, task)] = error

    @staticmethod
    def name(row: str, task: str) -> str:
        """Return the model name of a case."""
        return re.sub("[^a-z0-9]+", "-", f"{row}-{task}".lower())

    def checkpoint(self, row: str, task: str) -> Path:
        """Return the Hugging Face directory of a case, written once."""
        stem, (head, labels) = ROWS[row][0], _CHECKPOINTS[task]
        settings = SETTINGS.get(row, {})
        path = self.root / "checkpoints" / f"{stem}{head}{len(labels)}{'-'.join(map(str, settings.values()))}"
        return path if path.exists() else write_checkpoint(path, f"{stem}{head}", labels=labels, **settings)

    def _export(self, row: str, task: str) -> None:
        name = self.name(row, task)
        source, options = ROWS[row][1](self.checkpoint(row, task), self.root / "sources" / name)
        if row in WITHOUT_TASK:
            labels = LABELS if "classification" in task else None
            options = {"load": LoadOptions(task=task, labels=labels, pooling=_POOLINGS.get(task)), **options}
        decoding = {"label_decoding": "argmax"} if task == "token-classification" else {}
        export_options = {"max_length": 46, "lengths": [], "formats": ["onnx"], **decoding, **options}
        export_bundle(source, name=name, output=self.root / "models", **export_options)

    def config(self) -> Path:
        """Write the model config file of all bundles."""
        models = "".join(
            f'config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
            for path in sorted((self.root / "models").iterdir())
        )
        file = self.root / "models.config"
        file.write_text(f"model_config_list {{\n{models}}}\n", encoding="utf-8")
        return file


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Iterator[tuple[Matrix, tuple[str, ...]]]:
    """Export every case and serve all with both runtimes; return the matrix and the servers' addresses."""
    del tensorflow
    exported = Matrix(tmp_path_factory.mktemp("matrix"))
    config = exported.config()
    with serving(model_config_file=config, runtime="onnx") as onnx, serving(model_config_file=config) as auto:
        yield exported, (onnx, auto)  # auto is OpenVINO if it is installed


def source_outputs(path: Path, client: Client, texts: list[Any]) -> tuple[Any, dict[str, Any]]:
    """Return encodings, and the outputs of transformers' own model for them."""
    from bertbundle.text.tokenizer import Tokenizer
    from bertbundle_export.source.tokenization import load_tokenizer
    from bertbundle_export.tensorflow_import import tf, transformers

    architecture = transformers.AutoConfig.from_pretrained(str(path)).architectures[0]
    model = getattr(transformers, f"TF{architecture}").from_pretrained(str(path))
    tokenizer = Tokenizer(load_tokenizer(path).to_str(), max_length=46, mask_token=client.manifest().mask_token)
    (encoding,) = tokenizer.encode(texts)
    inputs = {"input_ids": tf.constant([encoding.ids]), "attention_mask": tf.ones([1, len(encoding)], tf.int32)}
    if "token_type_ids" in {spec.name for spec in client.manifest().inputs}:
        inputs["token_type_ids"] = tf.constant([encoding.type_ids])
    return encoding, {name: np.asarray(value)[0] for name, value in model(inputs).items()}


def softmax(logits: Any) -> Any:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# ---- the expected results of each task, computed from the source's raw outputs


def check_entities(client: Client, path: Path) -> None:
    """Every token that is not O is in an entity, and the entity's score is its probability."""
    encoding, raw = source_outputs(path, client, [TEXT])
    labels = raw["logits"].argmax(-1)
    found = client.entities(TEXT)
    covered = {
        position for position, (start, end) in enumerate(encoding.offsets) for e in found if e.start <= start < e.end
    }
    tokens = {position for position, (start, end) in enumerate(encoding.offsets) if start < end}
    assert covered & tokens == {position for position in tokens if LABELS[labels[position]] != "O"}
    for entity in found:
        inside = [p for p in tokens if entity.start <= encoding.offsets[p][0] < entity.end]
        assert {LABELS[labels[p]][2:] for p in inside} == {entity.label}
        assert entity.score == pytest.approx(softmax(raw["logits"])[inside].max(-1).mean(), abs=1e-4)


def check_classes(client: Client, path: Path) -> None:
    """A pair's class scores are the softmax of the source's logits."""
    _, raw = source_outputs(path, client, [(TEXT, OTHER)])
    scores = client.classify((TEXT, OTHER)).scores
    np.testing.assert_allclose([scores[label] for label in LABELS], softmax(raw["logits"]), atol=1e-4)


def check_value(client: Client, path: Path) -> None:
    """A pair's value is the source's only logit."""
    _, raw = source_outputs(path, client, [(TEXT, OTHER)])
    assert client.regress((TEXT, OTHER)) == pytest.approx(raw["logits"][0], abs=1e-4)


def check_embedding(client: Client, path: Path) -> None:
    """A text's vector is the mean of the source's token vectors."""
    _, raw = source_outputs(path, client, [TEXT])
    np.testing.assert_allclose(client.embed(TEXT), raw["last_hidden_state"].mean(0), atol=1e-4)


def check_answer(client: Client, path: Path) -> None:
    """The answer is the span with the highest product of the probabilities of its start and end.

    The probabilities are those of the context's tokens and [CLS].
    """
    encoding, raw = source_outputs(path, client, [(TEXT, OTHER)])
    context = [position for position, side in enumerate(encoding.sequence_ids) if side == 1]
    starts, ends = (softmax(raw[name][[0, *context]])[1:] for name in ("start_logits", "end_logits"))
    best = max(starts[i] * ends[j] for i in range(len(context)) for j in range(i, min(i + 15, len(context))))
    answer = client.answer(TEXT, OTHER)
    assert answer.score == pytest.approx(best, abs=1e-4)
    assert answer.text == OTHER[answer.start : answer.end]


def check_fills(client: Client, path: Path) -> None:
    """The first token for a mask is the source's most likely token."""
    mask = client.manifest().mask_token
    text = MASKED.format(mask=mask)
    encoding, raw = source_outputs(path, client, [text])
    position = [token.strip() for token in encoding.tokens].index(mask)
    probabilities = softmax(raw["logits"][position])
    ((first, *_),) = client.fill_mask(text)
    assert first.token_id == probabilities.argmax()
    assert first.score == pytest.approx(probabilities.max(), abs=1e-4)


def check_spans(client: Client, path: Path, *, row: str) -> None:
    """Every span of the text with a positive logit is an entity, and its score is the sigmoid of the logit."""
    weights, formula = POINTERS[row.rpartition(", ")[2]]
    encoding, raw = source_outputs(path, client, [TEXT])
    logits = formula(raw["last_hidden_state"], weights, len(SPANS))
    tokens = [position for position, word in enumerate(encoding.word_ids) if word is not None]
    expected = {
        (SPANS[label], encoding.offsets[first][0], encoding.offsets[last][1]): logits[label, first, last]
        for label in range(len(SPANS))
        for first in tokens
        for last in tokens
        if first <= last
    }
    found = {(entity.label, entity.start, entity.end): entity.score for entity in client.entities(TEXT)}
    assert {span for span, logit in expected.items() if logit > 1e-3} <= found.keys()
    assert not {span for span, logit in expected.items() if logit < -1e-3} & found.keys()
    for span, score in found.items():
        assert score == pytest.approx(1 / (1 + np.exp(-expected[span])), abs=1e-4)


CHECKS: Mapping[str, Callable[[Client, Path], None]] = {
    "token-classification": check_entities,
    "text-classification": check_classes,
    "regression": check_value,
    "feature-extraction": check_embedding,
    "question-answering": check_answer,
    "fill-mask": check_fills,
}


@pytest.mark.parametrize(("row", "task"), CASES, ids=[Matrix.name(*case) for case in CASES])
def test_result_through_the_client(matrix: tuple[Matrix, tuple[str, ...]], row: str, task: str) -> None:
    """The client's result equals that of transformers' own model with the same weights."""
    exported, addresses = matrix
    if exported.name(row, task) in exported.failed:
        raise exported.failed[exported.name(row, task)]
    for address in addresses:
        with Client(address, exported.name(row, task)) as client:
            assert client.manifest().task == task
            check = CHECKS.get(task) or functools.partial(check_spans, row=row)
            check(client, exported.checkpoint(row, task))


def test_support_matrix_page() -> None:
    """The table in docs/support-matrix.md ticks exactly the tested combinations of format and task."""
    page = (ROOT / "docs/support-matrix.md").read_text(encoding="utf-8")
    (head, _, *rows) = [line for line in page.split("<!-- matrix -->")[1].strip().splitlines() if line]
    tasks = [cell.strip().replace(" ", "-") for cell in head.strip("|").split("|")[1:]]
    ticked = {
        (cells[0].strip(), task)
        for cells in (line.strip("|").split("|") for line in rows)
        for task, cell in zip(tasks, cells[1:], strict=True)
        if "✓" in cell
    }
    assert ticked == set(CASES)


def test_several_heads_on_the_page() -> None:
    """Each row of the table of several heads names a test file that exports with heads and queries with the client."""
    page = (ROOT / "docs/support-matrix.md").read_text(encoding="utf-8")
    (_, _, *rows) = page.split("<!-- heads -->")[1].strip().splitlines()
    files = [re.findall(r"`(tests/\S+)`", row)[0] for row in rows]
    assert len(set(files)) == len(rows) == 3
    for file in files:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert "HEADS" in text
        assert "client.heads(" in text
