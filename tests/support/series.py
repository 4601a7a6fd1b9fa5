"""Read metrics in Prometheus' text format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["read_series", "request_counts"]

_REQUESTS = "bertbundle_gateway_requests_total"


def read_series(exposition: bytes) -> dict[str, float]:
    """Return the value of each series by its name, with its labels in alphabetical order."""
    values = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values


def request_counts(exposition: bytes) -> dict[tuple[str, ...], float]:
    """Return how many requests a gateway has counted, if any, by model, method and code."""
    return {
        tuple(sample.labels[name] for name in ("model", "method", "code")): sample.value
        for family in text_string_to_metric_families(exposition.decode())
        for sample in family.samples
        if sample.name == _REQUESTS and sample.value
    }
