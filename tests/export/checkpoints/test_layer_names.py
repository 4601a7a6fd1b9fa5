"""Names of Keras layers, independent of what was built before them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bertbundle_export.checkpoints.layer_names import normalize_layer_names


def test_numbers_count_from_the_first_of_each_scope() -> None:
    """Layers of one kind in a scope are numbered in their order; BERT's own numbers are kept."""
    names = ["dense_9.weight", "dense_10.weight", "block_4.dense_7.bias", "bert.encoder.layer.3.output.dense.weight"]
    expected = ["dense.weight", "dense#1.weight", "block.dense.bias", "bert.encoder.layer.3.output.dense.weight"]
    assert list(normalize_layer_names(names).values()) == expected


@given(st.integers(0, 30), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_names_do_not_depend_on_other_layers(start: int, steps: list[int]) -> None:
    """Names do not depend on how many layers were built before or between."""

    def numbered(numbers: list[int]) -> list[str]:
        return [f"dense_{number}.weight" if number else "dense.weight" for number in numbers]

    spread = [start + sum(steps[:index]) for index in range(len(steps))]
    found = normalize_layer_names(numbered(spread))
    assert list(found.values()) == list(normalize_layer_names(numbered(list(range(len(steps))))).values())
    assert len(set(found.values())) == len(steps)
