"""The dashboard of the instances: balance, health, and where the time of one goes."""

from __future__ import annotations

from observability.layout import Dashboard, Panel, Row
from observability.queries import (
    LATENCY,
    NOT_OK,
    ON_INSTANCE,
    RATE,
    REQUESTS,
    own,
    process,
    quantile,
    rate,
    ratio,
    serving,
)

__all__ = ["INSTANCES"]

_BALANCE = Row(
    "Balance",
    (
        Panel("Requests", "Of each instance.", "reqps", {"{{instance}}": rate(REQUESTS, "instance")}),
        Panel(
            "Imbalance",
            "Requests of the busiest instance, divided by the mean. 1 is balanced.",
            "short",
            {"busiest / mean": f"max({rate(REQUESTS, 'instance')}) / avg({rate(REQUESTS, 'instance')})"},
        ),
        Panel(
            "Version",
            "Newest version that each instance serves. They differ during a rollout only.",
            "none",
            {"{{instance}} {{model}}": f"max by (instance, model) ({own('newest_version')})"},
        ),
    ),
)
_HEALTH = Row(
    "Health of each instance",
    (
        Panel(
            "Requests with an error",
            "Share of the requests with any status but OK.",
            "percentunit",
            {"{{instance}}": ratio(NOT_OK, REQUESTS, "instance")},
        ),
        Panel("Latency, p99", "As on the overview.", "µs", {"{{instance}}": quantile(0.99, LATENCY, "instance")}),
        Panel(
            "Queue",
            "Requests that wait for the engine.",
            "short",
            {"{{instance}}": f"sum by (instance) ({own('queue_depth')})"},
        ),
        Panel(
            "Processor",
            "Cores in use.",
            "short",
            {"{{instance}}": f"rate({process('process_cpu_seconds_total')}[{RATE}])"},
        ),
        Panel("Memory", "Resident memory.", "bytes", {"{{instance}}": process("process_resident_memory_bytes")}),
        Panel(
            "Loads",
            "Attempts to load a version, and versions that did not load.",
            "short",
            {
                "{{instance}} {{status}}": "sum by (instance, status) ("
                + process(":tensorflow:cc:saved_model:load_attempt_count")
                + ")",
                "{{instance}} {{model}} broken": f"sum by (instance, model) ({own('failed_versions')})",
            },
        ),
    ),
)
_DRILL_DOWN = Row(
    "Where the time goes, for the selected instances",
    (
        Panel(
            "Requests by signature",
            "The signatures of a bundle are its lengths.",
            "reqps",
            {"{{model}} {{signature}}": rate(own("request_seconds_count", ON_INSTANCE), "model, signature")},
        ),
        Panel(
            "Mean times",
            "From submission to the outputs, of which the queue; and the computation of a batch.",
            "s",
            {
                "whole": ratio(own("request_seconds_sum", ON_INSTANCE), own("request_seconds_count", ON_INSTANCE)),
                "queue": ratio(own("queue_seconds_sum", ON_INSTANCE), own("queue_seconds_count", ON_INSTANCE)),
                "batch": "("
                + ratio(
                    serving("serving:runtime_latency_sum", ON_INSTANCE),
                    serving("serving:runtime_latency_count", ON_INSTANCE),
                )
                + ") / 1e6",
            },
        ),
        Panel(
            "Time in TensorFlow Serving's batching queue, p99",
            "Both servers have it.",
            "µs",
            {
                "{{instance}}": quantile(
                    0.99, process(":tensorflow:serving:batching_session:queuing_latency_bucket"), "instance"
                )
            },
        ),
        Panel(
            "Rows per batch",
            "Mean number of rows that are computed together.",
            "short",
            {
                "{{model}} {{signature}}": ratio(
                    own("batch_rows_sum", ON_INSTANCE), own("batch_rows_count", ON_INSTANCE), "model, signature"
                )
            },
        ),
        Panel(
            "Padding by signature",
            "Share of the computed tokens that is padding.",
            "percentunit",
            {
                "{{model}} {{signature}}": ratio(
                    own("padding_tokens_total", ON_INSTANCE), own("tokens_total", ON_INSTANCE), "model, signature"
                )
            },
        ),
    ),
)


INSTANCES = Dashboard(
    "bertbundle-instances",
    "bertbundle: instances",
    "Balance between instances, and where the time of one goes.",
    ("job", "model", "instance"),
    (_BALANCE, _HEALTH, _DRILL_DOWN),
)
