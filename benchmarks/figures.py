"""Functions that find the figures of targets in the results of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness import Row

Value = Callable[[Sequence[Row]], float | None]
"""Returns a figure from a benchmark's rows, None if it was not measured."""

OURS = ("saved_model", "onnx", "openvino", "auto", "bundle")
"""Prefixes of the names of the project's own variants."""
SAVED = ("saved_model",)
LIMIT = "limit: bfloat16 product"


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


def difference(case: str, unit: str, variant: str) -> Value:
    """Return a function that finds by how much a variant differs from the peer, as a share of it."""
    find_ratio = ratio(case, unit, variant)

    def find(rows: Sequence[Row]) -> float | None:
        found = find_ratio(rows)
        return None if found is None else abs(found - 1)

    return find


def growth(case: str, unit: str) -> Value:
    """Return a function that finds the largest ratio of the last value of what a case varies to the first."""

    def find(rows: Sequence[Row]) -> float | None:
        found = [
            row for row in rows if row.case.startswith(case.rstrip("*")) and row.unit == unit and row.at is not None
        ]
        last = max((row.at for row in found if row.at is not None), default=None)
        return max((row.ratio for row in found if row.at == last), default=None)

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


def memory_per_length(precision: str) -> Value:
    """Return a function that finds the memory in GB that each length adds to a server after it has run."""

    def find(rows: Sequence[Row]) -> float | None:
        name = f"saved_model {precision}"
        memory = [median("lengths that ran", "GB", name, count)(rows) for count in (0, 6)]
        return (memory[1] - memory[0]) / 6 if memory[0] and memory[1] else None

    return find


def over(case: str, unit: str, variant: str, other: str) -> Value:
    """Return a function that finds the median of a variant relative to another one; both are prefixes of names."""

    def find(rows: Sequence[Row]) -> float | None:
        ours, others = median(case, unit, variant)(rows), median(case, unit, other)(rows)
        return ours / others if ours and others else None

    return find


def embedded_cases(rows: Sequence[Row], suffix: str) -> list[str]:
    """Return the cases of shared_cores.py for the embedded server; each name ends in the suffix."""
    names = dict.fromkeys(row.case for row in rows if row.case.startswith("16 callers, "))
    return [
        name
        for name in names
        if "tensorflow_model_server" not in name and name.removesuffix(suffix).count(",") == 1 and name.endswith(suffix)
    ]


def worst_share(suffix: str) -> Value:
    """Return a function that finds the lowest share of its engine's throughput that a server reaches."""

    def find(rows: Sequence[Row]) -> float | None:
        shares = [ratio(case, "seq/s", "served")(rows) for case in embedded_cases(rows, suffix)]
        return min((share for share in shares if share), default=None)

    return find


def worst_server_cost(rows: Sequence[Row]) -> float | None:
    """Return the highest processor time of a server relative to its engine's."""
    costs = [over(case, "ms CPU", "server", "engine")(rows) for case in embedded_cases(rows, "")]
    return max((cost for cost in costs if cost), default=None)


IN_BATCHES = "server-sized batches, engine"


def server_overhead(rows: Sequence[Row]) -> float | None:
    """Return the milliseconds of processor time per sequence that the int8 server takes outside its engine."""
    times = [median("16 callers, auto int8", "ms CPU", part)(rows) for part in ("server", IN_BATCHES)]
    return times[0] - times[1] if times[0] and times[1] else None


def rest_over_grpc(rows: Sequence[Row]) -> float | None:
    """Return by how many milliseconds more the gateway delays a lone call over REST than over gRPC."""
    times = [median("1 caller, short text", "ms added", name)(rows) for name in ("REST", "gateway")]
    return None if times[0] is None or times[1] is None else times[0] - times[1]
