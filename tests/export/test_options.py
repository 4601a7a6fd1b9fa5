"""The options of an export: which values and combinations are accepted."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle_export import LoadOptions
from bertbundle_export.errors import ExportError
from bertbundle_export.options import ExportOptions, check_options_apply, signature_lengths


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        pytest.param("question-answering", "labels", ("a", "b"), id="labels"),
        pytest.param("token-classification", "multi_label", True, id="multi_label"),
        pytest.param("token-classification", "last_layers", 2, id="last_layers"),
        pytest.param("token-classification", "top_k", 3, id="top_k"),
        pytest.param("fill-mask", "normalize", True, id="normalize"),
        pytest.param("text-classification", "crf_transitions", "crf", id="crf"),
    ],
)
def test_no_option_is_ignored(task: str, name: str, value: Any) -> None:
    """An option that does not apply to the task is an error."""
    options_class = ExportOptions if name in ExportOptions.__dataclass_fields__ else LoadOptions
    options = (options_class(**{name: value}), ExportOptions(), LoadOptions())
    with pytest.raises(ExportError, match=f"{name}= in Python"):
        check_options_apply(task, *options)


def shorter(*lengths: int) -> dict[str, int]:
    """Return the signatures with these lengths."""
    return {f"length_{length}": length for length in lengths}


@pytest.mark.parametrize(
    ("options", "limit", "expected"),
    [
        pytest.param({}, 512, shorter(*range(8, 65, 8), 80, 96, 112) | {"serving_default": 128}, id="default"),
        pytest.param({}, 48, shorter(8, 16, 24, 32, 40) | {"serving_default": 48}, id="short_model"),
        pytest.param(
            {"max_length": 512},
            512,
            shorter(*range(8, 65, 8), *range(80, 129, 16), *range(160, 257, 32), 320, 384, 448)
            | {"serving_default": 512},
            id="long",
        ),
        pytest.param({"max_length": 8}, 512, {"serving_default": 8}, id="shortest"),
        pytest.param(
            {"max_length": 100, "lengths": (50, 100, 20)},
            512,
            {"length_20": 20, "length_50": 50, "serving_default": 100},
            id="given",
        ),
        pytest.param({"precision": "bfloat16"}, 512, shorter(16, 32, 64) | {"serving_default": 128}, id="bfloat16"),
        pytest.param({"max_length": 36}, None, shorter(8, 16, 24, 32) | {"serving_default": 36}, id="no_limit_known"),
    ],
)
def test_lengths(options: dict[str, Any], limit: int | None, expected: dict[str, int]) -> None:
    """Default lengths are every 8 tokens, with larger steps for longer ones; fewer in bfloat16, to save memory."""
    assert signature_lengths(ExportOptions(**options), limit) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"max_length": 1000}, "max_length 1000 exceeds the model's max_position_embeddings 512", id="long"
        ),
        pytest.param({"lengths": (16, 256)}, "length 256 is not valid", id="over_max"),
        pytest.param({"lengths": (0,)}, "length 0 is not valid", id="zero"),
        pytest.param({"max_length": 2}, "length 2 is not valid", id="no_room"),
    ],
)
def test_invalid_lengths(options: dict[str, Any], message: str) -> None:
    """A length that the model does not support is refused."""
    with pytest.raises(ExportError, match=message):
        signature_lengths(ExportOptions(**options), 512)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"word_labels": "last"}, id="word_labels"),
        pytest.param({"label_decoding": "beam"}, id="label_decoding"),
        pytest.param({"label_scheme": "XYZ"}, id="label_scheme"),
        pytest.param({"formats": ()}, id="no_format"),
        pytest.param({"formats": ("tflite",)}, id="format"),
    ],
)
def test_invalid_options(options: dict[str, Any]) -> None:
    """The message about an unknown value lists the valid ones."""
    with pytest.raises(ExportError, match="must be"):
        ExportOptions(**options)


def test_int8_needs_onnx() -> None:
    """int8 without ONNX files is refused before any work is done."""
    with pytest.raises(ExportError, match=r"precision int8 applies to the ONNX files.*Add onnx to --formats"):
        ExportOptions(precision="int8", formats=("saved_model",))
