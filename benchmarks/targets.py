"""The targets of the project, and functions that find their figures in the results of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness import Row

Value = Callable[[Sequence[Row]], float | None]

OURS = ("saved_model", "onnx", "openvino", "auto", "bundle")
"""Prefixes of the names of the project's own variants."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound.

    Attributes:
        benchmark: the benchmark that measures it.
        value: returns the figure from the benchmark's rows, None if it was not measured.
        bound: the smallest value that reaches the goal.
        less: whether the bound is the largest value that reaches the goal instead.
        show: format of the figure.
    """

    benchmark: str
    value: Value
    bound: float
    less: bool = False
    show: str = "{:.1f}x"

    def holds(self, value: float) -> bool:
        """Return whether a figure reaches the goal."""
        return value <= self.bound if self.less else value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that explains another.

    Attributes:
        benchmark: the benchmark that measures it.
        value: returns the figure from the benchmark's rows, None if it was not measured.
        show: format of the figure.
    """

    benchmark: str
    value: Value
    show: str = "{:.1f}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a goal is not reached: a text with figures from the same run."""

    text: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table.

    Attributes:
        what: what is measured.
        target: the bounds in words.
        goals: the figures, all of which must reach their bounds.
        why: the reason that is shown if one of them does not.
    """

    what: str
    target: str
    goals: tuple[Goal, ...]
    why: Reason | None = None


def rows_where(rows: Iterable[Row], case: str, unit: str, variants: Sequence[str], at: float | None) -> list[Row]:
    """Return the rows of a case in one unit, by prefixes of the variants; the case may end in ``*``."""
    return [
        row
        for row in rows
        if (row.case == case or (case.endswith("*") and row.case.startswith(case[:-1])))
        and row.unit == unit
        and row.at == at
        and row.variant.startswith(tuple(variants))
        and not row.case.endswith("tensorflow_model_server")
    ]


def best(*cases: str, unit: str = "seq/s", variants: Sequence[str] = OURS, at: float | None = None) -> Value:
    """Return a function that finds the best ratio to the peer among variants and cases."""

    def find(rows: Sequence[Row]) -> float | None:
        return max((row.ratio for case in cases for row in rows_where(rows, case, unit, variants, at)), default=None)

    return find


def ratio(case: str, unit: str, variant: str) -> Value:
    """Return a function that finds the ratio of a variant to the peer."""

    def find(rows: Sequence[Row]) -> float | None:
        return next((row.ratio for row in rows if (row.case, row.unit, row.variant) == (case, unit, variant)), None)

    return find


def median(case: str, unit: str, variant: str, at: float | None = None) -> Value:
    """Return a function that finds the median of a variant."""

    def find(rows: Sequence[Row]) -> float | None:
        return next((row.median for row in rows_where(rows, case, unit, [variant], at)), None)

    return find


def medians(rows: Sequence[Row], case: str, unit: str, precision: str) -> list[float]:
    """Return the medians of the project's own variants in a precision."""
    return [row.median for row in rows_where(rows, case, unit, OURS, None) if row.variant.endswith(precision)]


def int8_over_bfloat16(rows: Sequence[Row]) -> float | None:
    """Return the speed of the best int8 engine relative to the best bfloat16 engine."""
    ours, others = (medians(rows, "[32, 128]", "seq/s", name) for name in ("int8", "bfloat16"))
    return max(ours) / max(others) if ours and others else None


def int8_loss(rows: Sequence[Row]) -> float | None:
    """Return the F1 points that the worst int8 engine loses against float32."""
    plain, scores = (medians(rows, "ResumeNER, F1", "points", name) for name in ("float32", "int8"))
    return max(plain) - min(scores) if plain and scores else None


def int8_agreement(rows: Sequence[Row]) -> float | None:
    """Return the percentage of labels that are the same as in float32, for the worst int8 engine."""
    return min(medians(rows, "ResumeNER, labels", "% same", "int8"), default=None)


def cost_ratio(case: str, unit: str) -> Value:
    """Return a function that finds an export's cost relative to the usual route; None if that was not measured."""

    def find(rows: Sequence[Row]) -> float | None:
        usual, ours = median(case, unit, "usual route")(rows), median(case, unit, "bundle bfloat16")(rows)
        return ours / usual if usual and ours else None

    return find


def limit_on_natural_lengths(rows: Sequence[Row]) -> float | None:
    """Return the speed of the best matrix products alone relative to TFBert, on texts of natural length."""
    faster = best("[32, 128]", variants=(LIMIT,))(rows)
    fewer = best("tokens computed*", unit="tokens", variants=SAVED)(rows)
    return faster * fewer if faster and fewer else None


def short_against_padded(rows: Sequence[Row]) -> float | None:
    """Return the speed of the best engine on a short text relative to TFBert, which pads it to 128."""
    ours = max((row.median for row in rows_where(rows, "[1, 32]", "seq/s", OURS, None)), default=None)
    padded = median("[1, 128]", "seq/s", "TFBert as saved")(rows)
    return ours / padded if ours and padded else None


def memory_per_length(rows: Sequence[Row]) -> float | None:
    """Return the memory in GB that each length adds to a server after it has run, in bfloat16."""
    memory = [median("lengths that ran", "GB", "saved_model bfloat16", count)(rows) for count in (0, 6)]
    return (memory[1] - memory[0]) / 6 if memory[0] and memory[1] else None


def loaded(precision: str) -> tuple[Goal, Goal]:
    """Return the goals for loading a SavedModel."""
    name = f"saved_model {precision}"
    return (
        Goal("loading", median("load to AVAILABLE", "s", name), 5, less=True, show="{:.1f} s"),
        Goal("loading", median("models that ran", "GB", name, 1), 1.5, less=True, show="{:.2f} GB"),
    )


SAVED = ("saved_model",)
LIMIT = "limit: bfloat16 product"
BFLOAT16 = ("saved_model bfloat16", "openvino bfloat16")
BFLOAT16_SERVED = ("bundle, gRPC, auto", "bundle, gRPC, saved_model")
TARGETS = (
    Target(
        "SavedModel on TensorFlow's runtime, better of [8, 128] x 2 callers and [32, 128], vs TFBert float32 as saved",
        "at least 5x",
        (Goal("engine", best("[8, 128] x 2 callers", "[32, 128]", variants=SAVED), 5),),
        Reason(
            "{} is what the best bfloat16 product of this processor would reach alone (limit); ours is at {} of it",
            (
                Figure("engine", best("[32, 128]", variants=(LIMIT,)), "{:.1f}x"),
                Figure("engine", best("[32, 128] of the limit", variants=SAVED), "{:.0%}"),
            ),
        ),
    ),
    Target(
        "the same on texts of natural length, through a server, 16 callers",
        "at least 15x",
        (Goal("served", best("callers, *", variants=SAVED, at=16), 15),),
        Reason(
            "{} is that limit on texts without their padding", (Figure("engine", limit_on_natural_lengths, "{:.1f}x"),)
        ),
    ),
    Target(
        "one text of 20 tokens, p50 through gRPC, best precision, vs today's route padded to 128",
        "at least 10x",
        (Goal("served", best("20 tokens, 1 caller", unit="ms p50"), 10),),
        Reason(
            "{} is the fastest engine alone, [1, 32] against TFBert's [1, 128]",
            (Figure("engine", short_against_padded, "{:.1f}x"),),
        ),
    ),
    Target(
        "MiniLM embeddings of WNUT17's test sentences in bfloat16 through gRPC, vs sentence-transformers with OpenVINO "
        "bfloat16",
        "at least 2x",
        (
            Goal(
                "peers", best("embeddings*", unit="texts/s", variants=("bundle, gRPC, auto", "bundle, gRPC, saved")), 2
            ),
        ),
        Reason(
            "{} is the same engine alone, without server and gRPC",
            (Figure("peers", best("embeddings*", unit="texts/s", variants=("bundle, in process",)), "{:.1f}x"),),
        ),
    ),
    Target(
        "the same in int8",
        "at least 2x",
        (Goal("peers", best("embeddings*", unit="texts/s", variants=("bundle, gRPC, int8",)), 2),),
    ),
    Target(
        "share of the best bfloat16 matrix product at [32, 128], best runtime",
        "at least 60 %",
        (Goal("engine", best("[32, 128] of the limit", variants=BFLOAT16), 0.6, show="{:.0%}"),),
    ),
    Target(
        "int8 over bfloat16 at [32, 128], best runtime of each; loss of F1 and equal labels on ResumeNER, the worse",
        "at least 1.5x / at most 0.5 points / at least 99 %",
        (
            Goal("engine", int8_over_bfloat16, 1.5),
            Goal("accuracy", int8_loss, 0.5, less=True, show="{:.2f} points"),
            Goal("accuracy", int8_agreement, 99, show="{:.2f} %"),
        ),
    ),
    Target(
        "served throughput over in-process throughput of the same engine, 16 callers",
        "at least 95 %",
        (Goal("served", ratio("16 callers, auto", "seq/s", "served"), 0.95, show="{:.0%}"),),
        Reason(
            "the callers and the server's Python run on the engine's cores, and its threads wait for each other; with "
            "--tensorflow_intra_op_parallelism=1 it is {}, but a single caller waits longer",
            (Figure("served", ratio("16 callers, auto", "seq/s", "served, 1 thread a batch"), "{:.0%}"),),
        ),
    ),
    Target(
        "SavedModel in float32 with six lengths: load to AVAILABLE / resident memory after all lengths ran",
        "at most 5 s / 1.5 GB",
        loaded("float32"),
    ),
    Target(
        "the same in bfloat16",
        "at most 5 s / 1.5 GB",
        loaded("bfloat16"),
        Reason(
            "TensorFlow keeps {} GB of rearranged kernels for each length that ran, which makes bfloat16 fast",
            (Figure("loading", memory_per_length, "{:.2f}"),),
        ),
    ),
    Target(
        "export of six lengths, both formats, with parity, vs the usual route with one length: time / peak memory",
        "at most 1/3 / 1/4",
        (
            Goal("exporting", cost_ratio("time", "s"), 1 / 3, less=True, show="{:.2f}"),
            Goal("exporting", cost_ratio("peak memory", "GB"), 1 / 4, less=True, show="{:.2f}"),
        ),
    ),
    Target(
        "disk: bundle with both formats, bfloat16 and float32, over the source checkpoint",
        "at most 1.6x",
        (Goal("exporting", best("files", unit="MB", variants=("bundle bfloat16",)), 1.6, less=True, show="{:.2f}x"),),
    ),
)
