"""The options of an export: which values and combinations are accepted."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle_export import LoadOptions
from bertbundle_export.errors import ExportError
from bertbundle_export.options import ExportOptions, check_options_apply


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        pytest.param("question-answering", "labels", ("a", "b"), id="labels"),
        pytest.param("token-classification", "multi_label", True, id="multi_label"),
        pytest.param("token-classification", "pooling", "cls", id="pooling"),
        pytest.param("token-classification", "last_layers", 2, id="last_layers"),
        pytest.param("token-classification", "top_k", 3, id="top_k"),
        pytest.param("token-classification", "span_threshold", 1.0, id="span_threshold"),
        pytest.param("span-classification", "label_scheme", "BIO", id="label_scheme"),
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


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"word_labels": "last"}, id="word_labels"),
        pytest.param({"label_decoding": "beam"}, id="label_decoding"),
        pytest.param({"label_scheme": "XYZ"}, id="label_scheme"),
        pytest.param({"formats": ()}, id="no_format"),
        pytest.param({"formats": ("tflite",)}, id="format"),
        pytest.param({"span_threshold": float("nan")}, id="span_threshold_nan"),
        pytest.param({"span_threshold": -101.0}, id="span_threshold_of_masked_spans"),
        pytest.param({"top_k": 0}, id="top_k"),
    ],
)
def test_invalid_options(options: dict[str, Any]) -> None:
    """The message about an unknown value lists the valid ones."""
    with pytest.raises(ExportError, match="must be"):
        ExportOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": (2,)}, r"length 2 is not valid: lengths range from 3 .* to max_length the model's"),
        ({"lengths": (8, 64), "max_length": 32}, "length 64 is not valid: lengths range from 3 .* to max_length 32"),
        ({"max_length": 1}, "length 1 is not valid"),
    ],
)
def test_invalid_lengths(options: dict[str, Any], message: str) -> None:
    """Lengths that no model takes are refused with the options, before a checkpoint is loaded."""
    with pytest.raises(ExportError, match=message):
        ExportOptions(**options)
