"""Pre- and postprocessing of 10,000 Chinese sentences: the client, compared with transformers' NER pipeline.

No model runs on either side: both get the same logits. For transformers, the pipeline's preprocess and postprocess are
called for each sentence, as its `__call__` does, with aggregation_strategy="simple"; for the client, `client.pipeline`
with the same strategy, and `client.entities`. The results of both sides are compared first.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from common import chinese_sentences, interleave, parser, report, shared_file
from vocabulary import write_tokenizer

from bertbundle import Client, PredictCall, Prediction, foreign_manifest

LABELS = ["O", *(f"{role}-{kind}" for kind in ("PER", "LOC", "ORG") for role in "BI")]
TABLE = np.random.default_rng(0).standard_normal((21128, len(LABELS))).astype(np.float32) + 4.0 * (
    np.arange(len(LABELS)) == 0
)
"""Logits of each token of the vocabulary: mostly O."""


class LookupTransport:
    """A transport that looks up the logits of each token in a table."""

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """See `Transport.predict`."""
        logits = TABLE[call.inputs["input_ids"]]
        answers = {"logits": logits, "label_ids": logits.argmax(-1), "label_scores": logits.max(-1)}
        return Prediction({name: answers[name] for name in call.outputs}, 1)

    def close(self) -> None:
        """See `Transport.close`."""


def usual_pipeline(tokenizer_file: str) -> Any:
    """Return transformers' pipeline without a model."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import transformers

    config = transformers.BertConfig(
        hidden_size=4, num_hidden_layers=1, num_attention_heads=1, id2label=dict(enumerate(LABELS)), vocab_size=21128
    )
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, **special)
    model = transformers.TFBertForTokenClassification(config)
    return transformers.TokenClassificationPipeline(
        model=model, tokenizer=tokenizer, framework="tf", aggregation_strategy="simple"
    )


def usual(pipeline: Any, sentences: list[str]) -> list[Any]:
    """Process each sentence as the pipeline's `__call__` does, with logits from a table instead of a model."""
    import tensorflow as tf

    answers = []
    for sentence in sentences:
        outputs = []
        for item in pipeline.preprocess(sentence, **pipeline._preprocess_params):  # noqa: SLF001 - as its __call__
            logits = tf.constant(TABLE[item["input_ids"].numpy()])
            outputs.append({"logits": logits, **item})
        answers.append(pipeline.postprocess(outputs, **pipeline._postprocess_params))  # noqa: SLF001 - as its __call__
    return answers


def main() -> None:
    """Time both sides alternately on the same sentences."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--sentences", type=int, default=10_000)
    options = arguments.parse_args()
    sentences = chinese_sentences(options.sentences)
    tokenizer = write_tokenizer(shared_file("data/bert-base-chinese-vocab.txt"))
    manifest = foreign_manifest(
        "token-classification", max_length=128, labels=LABELS, outputs=("logits", "label_ids", "label_scores")
    )
    transport: Any = LookupTransport()
    settings: dict[str, Any] = {"manifest": manifest, "tokenizer": tokenizer, "timeout": 600}
    client = Client("", "ner", transport=transport, **settings)
    ours = client.pipeline("ner", aggregation_strategy="simple")
    theirs = usual_pipeline(str(tokenizer))
    check(ours(sentences[:200]), usual(theirs, sentences[:200]))
    mine, peer = interleave(lambda: ours(sentences), lambda: usual(theirs, sentences), options.rounds)
    entities, _ = interleave(lambda: client.entities(sentences), lambda: None, options.rounds)
    report(
        "processing",
        {
            "sentences": len(sentences),
            "s_pipeline": mine,
            "s_entities": entities,
            "s_usual": peer,
            "ratio": peer / mine,
            "ratio_entities": peer / entities,
        },
        options,
    )


def check(ours: list[Any], theirs: list[Any]) -> None:
    """Exit if both sides return different results: their speeds would not be comparable."""
    keys = ("entity_group", "word", "start", "end")
    if [[{key: each[key] for key in keys} for each in row] for row in ours] != [
        [{key: each[key] for key in keys} for each in row] for row in theirs
    ]:
        raise SystemExit("the client and transformers return different results, so their speeds are not comparable")


main()
