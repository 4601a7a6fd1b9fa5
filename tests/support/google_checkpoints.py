"""Write checkpoints in the formats of Google's code: TensorFlow 1 files, and each generation of TF Hub models.

Source of names and shapes: google-research/bert, modeling.py; for TF Hub tensorflow/models,
official/nlp/bert/tf1_checkpoint_converter_lib.py (the replacements below), official/nlp/bert/export_tfhub.py (called
with a list) and official/nlp/tools/export_tfhub_lib.py (called with a dict).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tiny_checkpoints import Weights

_V1_NAMES = (
    ("bert/", "bert_model/"),
    ("embeddings/word_embeddings", "word_embeddings/embeddings"),
    ("embeddings/token_type_embeddings", "embedding_postprocessor/type_embeddings"),
    ("embeddings/position_embeddings", "embedding_postprocessor/position_embeddings"),
    ("embeddings/LayerNorm", "embedding_postprocessor/layer_norm"),
    ("attention/self", "self_attention"),
    ("attention/output/dense", "self_attention_output"),
)
_V3_NAMES = (
    ("bert/", ""),
    ("encoder", "transformer"),
    ("embeddings/word_embeddings", "word_embeddings/embeddings"),
    ("embeddings/token_type_embeddings", "type_embeddings/embeddings"),
    ("embeddings/position_embeddings", "position_embedding/embeddings"),
    ("embeddings/LayerNorm", "embeddings/layer_norm"),
    ("attention/self", "self_attention"),
    ("attention/output/dense", "self_attention/attention_output"),
    ("cls/predictions/output_bias", "cls/predictions/output_bias/bias"),
)
_BOTH_NAMES = (
    ("attention/output/LayerNorm", "self_attention_layer_norm"),
    ("intermediate/dense", "intermediate"),
    ("output/dense", "output"),
    ("output/LayerNorm", "output_layer_norm"),
    ("pooler/dense", "pooler_transform"),
)


_HEADS = {
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
    "cls.predictions.bias": "cls/predictions/output_bias",
    "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
    "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
}


def tf1_weights(weights: Weights) -> Weights:
    """Convert weights from PyTorch's names and layout to Google's."""
    return dict(_to_tf1(name, value) for name, value in weights.items() if not name.endswith("position_ids"))


def _to_tf1(name: str, value: np.ndarray[Any, Any]) -> tuple[str, np.ndarray[Any, Any]]:
    if name in _HEADS:
        return _HEADS[name], value
    path = name if name.startswith(("bert.", "cls.")) else f"bert.{name}"
    path = path.replace(".layer.", ".layer_").replace(".", "/")
    if path.endswith("_embeddings/weight"):
        return path.removesuffix("/weight"), value
    if "LayerNorm" in path:
        return path.replace("/weight", "/gamma").replace("/bias", "/beta"), value
    return path.replace("/weight", "/kernel"), value.T if path.endswith("/weight") else value


def tagger_weights(weights: Weights) -> Weights:
    """Add a CRF to Google's weights of a tagger, without a change to what it predicts.

    A transition's score depends on the label that follows only, and the bias is smaller by it.
    """
    scores = np.arange(len(weights["output_bias"]), dtype=np.float32)
    crf = {"crf_loss/transitions": np.tile(scores, (len(scores), 1)), "output_bias": weights["output_bias"] - scores}
    return {**weights, **crf}


def with_pooler(weights: Weights) -> Weights:
    """Add a pooler to weights without one: all of Google's models have one."""
    size = len(weights["bert/embeddings/LayerNorm/beta"])
    kernel, bias = np.zeros((size, size), np.float32), np.zeros(size, np.float32)
    return {"bert/pooler/dense/kernel": kernel, "bert/pooler/dense/bias": bias} | weights


def write_tf1(
    path: Path,
    weights: Weights,
    config: Mapping[str, Any],
    vocab: Sequence[str],
    *,
    prefix: str = "bert_model.ckpt",
    shards: int = 1,
) -> Path:
    """Write weights with Google's names as a directory like chinese_L-12_H-768_A-12; return its path.

    With more than one shard, each has about the same number of tensors.
    """
    from bertbundle_export.tensorflow_import import tf

    path.mkdir(parents=True)
    (path / "bert_config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    names = sorted(weights)
    parts = [str(path / f"{prefix}_part{number}") for number in range(shards)]
    for number, part in enumerate(parts):
        chosen = names[number::shards]
        tensors = [weights[name] for name in chosen]
        tf.raw_ops.SaveV2(prefix=part, tensor_names=chosen, shape_and_slices=[""] * len(chosen), tensors=tensors)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(path / prefix))
    return path


# ---- TF Hub


def _hub_name(name: str, names: Sequence[tuple[str, str]]) -> str:
    for old, new in (*names, *_BOTH_NAMES):
        name = name.replace(old, new)
    return name


def _hub_value(name: str, value: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Split the heads of attention into a separate dimension."""
    if "/attention/self/" in name:
        return value.reshape(*value.shape[:-1], heads, -1)
    return value.reshape(heads, -1, value.shape[-1]) if name.endswith("attention/output/dense/kernel") else value


def encode(
    weight: Callable[[str], Any], ids: Any, mask: Any, types: Any, *, config: Mapping[str, Any], approximate: bool
) -> tuple[Any, list[Any]]:
    """Compute BERT in TensorFlow as Google's modeling.py does; return the pooled output and each layer's output."""
    from bertbundle_export.tensorflow_import import tf

    heads, act = config["num_attention_heads"], config.get("hidden_act", "gelu")
    activate = {"gelu": lambda x: tf.nn.gelu(x, approximate=approximate), "relu": tf.nn.relu}[act]

    def dense(x: Any, scope: str) -> Any:
        return tf.matmul(x, weight(f"{scope}/kernel")) + weight(f"{scope}/bias")

    def norm(x: Any, scope: str) -> Any:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(
            x, mean, variance, weight(f"{scope}/beta"), weight(f"{scope}/gamma"), config.get("layer_norm_eps", 1e-12)
        )

    def split(x: Any) -> Any:
        shape = tf.shape(x)
        return tf.transpose(tf.reshape(x, [shape[0], shape[1], heads, -1]), [0, 2, 1, 3])

    def attend(x: Any, scope: str) -> Any:
        query, key, value = (split(dense(x, f"{scope}/{part}")) for part in ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True) / float(config["hidden_size"] // heads) ** 0.5
        scores += (1.0 - tf.cast(mask, tf.float32))[:, None, None, :] * -10000.0
        context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        return tf.reshape(context, [tf.shape(x)[0], tf.shape(x)[1], config["hidden_size"]])

    x = tf.gather(weight("bert/embeddings/word_embeddings"), ids)
    x += tf.gather(weight("bert/embeddings/token_type_embeddings"), types)
    x += weight("bert/embeddings/position_embeddings")[: tf.shape(ids)[1]]
    layers = [norm(x, "bert/embeddings/LayerNorm")]
    for number in range(config["num_hidden_layers"]):
        scope, x = f"bert/encoder/layer_{number}", layers[-1]
        x = norm(
            x + dense(attend(x, f"{scope}/attention/self"), f"{scope}/attention/output/dense"),
            f"{scope}/attention/output/LayerNorm",
        )
        inner = activate(dense(x, f"{scope}/intermediate/dense"))
        layers.append(norm(x + dense(inner, f"{scope}/output/dense"), f"{scope}/output/LayerNorm"))
    return tf.tanh(dense(layers[-1][:, 0], "bert/pooler/dense")), layers[1:]


def write_hub(
    path: Path,
    weights: Weights,
    config: Mapping[str, Any],
    vocab: Sequence[str],
    *,
    style: str = "dict",
    approximate: bool = False,
    lowercase: bool = True,
) -> Path:
    """Write weights with Google's names as a TF Hub SavedModel; return its path.

    Args:
        path: its directory, which is created.
        weights: the weights of an encoder.
        config: sizes as in bert_config.json.
        vocab: the lines of assets/vocab.txt.
        style: "list" for models that are called with a list (versions 1 and 2), "dict" for those called with a dict
            (versions 3 and 4), or "module" for TensorFlow 1.
        approximate: whether gelu is approximated by tanh, as in Google's later code.
        lowercase: value of `do_lower_case`.
    """
    asset = path.parent / "vocab.txt"
    asset.write_text("\n".join(vocab) + "\n", encoding="utf-8")
    if style == "module":
        _write_module(path, weights, config, asset, approximate)
    else:
        _write_keras(
            path, weights, config, asset, approximate=approximate, lowercase=lowercase, as_dict=style == "dict"
        )
    return path


def _write_keras(
    path: Path,
    weights: Weights,
    config: Mapping[str, Any],
    asset: Path,
    *,
    approximate: bool,
    lowercase: bool,
    as_dict: bool,
) -> None:
    import tf_keras

    from bertbundle_export.tensorflow_import import tf

    class EncoderLayer(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            names = _V3_NAMES if as_dict else _V1_NAMES
            self.table = {
                name: tf.Variable(_hub_value(name, value, config["num_attention_heads"]), name=_hub_name(name, names))
                for name, value in weights.items()
            }

        def call(self, inputs: Any) -> Any:
            pooled, layers = encode(self.weight, *inputs, config=config, approximate=approximate)
            return [pooled, *layers]

        def weight(self, name: str) -> Any:
            return tf.reshape(self.table[name], weights[name].shape)

    names = ("input_word_ids", "input_mask", "input_type_ids")
    inputs = [tf_keras.Input((None,), dtype=tf.int32, name=name) for name in names]
    pooled, *layers = EncoderLayer()(inputs)
    if as_dict:
        outputs = {"pooled_output": pooled, "sequence_output": layers[-1], "encoder_outputs": layers, "default": pooled}
        model = tf_keras.Model({item.name: item for item in inputs}, outputs)
    else:
        model = tf_keras.Model(inputs, [pooled, layers[-1]])
    model.vocab_file = tf.saved_model.Asset(str(asset))
    model.do_lower_case = tf.Variable(lowercase, trainable=False)
    model.save(str(path), include_optimizer=False, save_format="tf")


def _write_module(path: Path, weights: Weights, config: Mapping[str, Any], asset: Path, approximate: bool) -> None:
    """Write a TF1 Hub module: two graphs tagged {} and {train}, no `serve`, with the signature `tokens`."""
    from bertbundle_export.tensorflow_import import tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(path))
    for number, tags in enumerate(([], ["train"])):
        with tf.Graph().as_default(), v1.Session() as session:
            table = {name: v1.get_variable(name, value.shape) for name, value in weights.items()}
            names = ("input_ids", "input_mask", "segment_ids")
            inputs = {name: v1.placeholder(tf.int32, [None, None], name=name) for name in names}
            pooled, layers = encode(table.__getitem__, *inputs.values(), config=config, approximate=approximate)
            outputs = {"pooled_output": pooled, "sequence_output": layers[-1]}
            signature = v1.saved_model.predict_signature_def(inputs, outputs)
            v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, tf.constant(str(asset)))
            for name, value in weights.items():  # fed, so that the graph does not contain them
                session.run(table[name].initializer, {table[name].initializer.inputs[1]: value})
            options = {
                "signature_def_map": {"tokens": signature},
                "assets_collection": v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            }
            if number:
                builder.add_meta_graph(tags, **options)
            else:
                builder.add_meta_graph_and_variables(session, tags, **options)
    builder.save()
    (path / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef.format = FORMAT_V3
