"""Export with transformers and tf2onnx, the usual way: ``usual_route.py CHECKPOINT DIRECTORY [ONNX_FILE]``.

The SavedModel has one signature for any shape; the optional ONNX file has a fixed length.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bertbundle_export.tensorflow_import import tf, transformers
from models import MAX_LENGTH

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def function(model: Any, length: int | None) -> tuple[Any, list[Any]]:
    """Return the model as a function of a dict, and its input signature."""
    spec = [{name: tf.TensorSpec([None, length], tf.int32, name=name) for name in INPUTS}]
    return tf.function(lambda features: dict(model(features, training=False)), input_signature=spec), spec


def main() -> None:
    """Export the model; the directory appears once it is complete."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    model = transformers.TFBertModel.from_pretrained(str(source))
    call, _ = function(model, None)
    partial = target.with_suffix(".part")
    tf.saved_model.save(model, str(partial), signatures=call.get_concrete_function())
    partial.rename(target)
    if len(sys.argv) > 3:
        import tf2onnx

        call, spec = function(model, MAX_LENGTH)
        tf2onnx.convert.from_function(call, input_signature=spec, opset=17, output_path=sys.argv[3])


if __name__ == "__main__":
    main()
