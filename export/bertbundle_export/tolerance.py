"""The tolerances: how much an exported format may differ from the source model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["TOLERANCES", "Tolerance"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest difference from the source model's value: ``atol + rtol * |value| + peak * max |values|``.

    Attributes:
        rtol, atol, peak: factors of the terms.
        agreement: share of labels that must agree.
    """

    rtol: float
    atol: float
    peak: float
    agreement: float


TOLERANCES: Mapping[str, Tolerance] = {
    # Twenty times the measured effect of a different order of summation: 2e-6 (MiniLM) to 5e-6 (3x128 logits of size
    # 10). If two label sequences have nearly the same score, rounding decides: one token in a thousand may differ.
    "float32": Tolerance(rtol=1e-4, atol=1e-4, peak=0.0, agreement=0.999),
    # Eight bits of mantissa. Measured on MiniLM, Rampart and a Chinese tagger: differences of 0.9 to 3.0 % of the
    # largest value, and at least 99.6 % equal labels (docs/decisions/0033).
    "bfloat16": Tolerance(rtol=0.0, atol=0.0, peak=0.05, agreement=0.99),
    # Eleven bits of mantissa, an eighth of bfloat16's rounding errors.
    "float16": Tolerance(rtol=0.0, atol=0.0, peak=0.015, agreement=0.995),
    # Eight bits for a tensor's whole range. Measured: differences of 2 % of the largest logit of a Chinese tagger, 11 %
    # of Rampart's, and 19 % of the largest number in MiniLM's sentence embeddings, and at least 99.5 % equal labels
    # (docs/decisions/0047).
    "int8": Tolerance(rtol=0.0, atol=0.0, peak=0.2, agreement=0.99),
}
"""The tolerances by precision of the matrix products."""
