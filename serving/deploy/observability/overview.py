"""The dashboard of all instances: traffic, errors, latency and its objective, saturation, and a line for each model."""

from __future__ import annotations

from observability.layout import Dashboard, Panel, Row
from observability.queries import (
    FAILED,
    LATENCY,
    NOT_OK,
    REQUESTS,
    WITHIN_SECONDS,
    braces,
    own,
    quantile,
    rate,
    ratio,
    serving,
    slow_share,
)

__all__ = ["OVERVIEW"]

_TRAFFIC = Row(
    "Traffic",
    (
        Panel("Requests", "By the status of the answer.", "reqps", {"{{status}}": rate(REQUESTS, "status")}),
        Panel(
            "Requests by API",
            "Predict, Classify, ..., over gRPC or REST.",
            "reqps",
            {"{{API}} {{entrypoint}}": rate(serving("serving:request_latency_count"), "API, entrypoint")},
        ),
        Panel(
            "Tokens",
            "Computed tokens per second, including padding.",
            "short",
            {"{{model}}": rate(own("tokens_total"), "model")},
        ),
    ),
)
_ERRORS = Row(
    "Errors",
    (
        Panel(
            "Requests with an error",
            "Share of the requests with any status but OK, mistakes of callers included.",
            "percentunit",
            {"{{model_name}}": ratio(NOT_OK, REQUESTS, "model_name")},
        ),
        Panel(
            "Errors of the server",
            "Requests that were refused, were too slow or failed, without mistakes of callers.",
            "reqps",
            {"{{model_name}} {{status}}": rate(FAILED, "model_name, status")},
        ),
    ),
)
_OBJECTIVE = Row(
    "Latency and objectives",
    (
        Panel(
            "Latency",
            "Time from a request's arrival to its answer, as TensorFlow Serving measures it.",
            "µs",
            {f"p{share * 100:g}": quantile(share, LATENCY) for share in (0.5, 0.95, 0.99)},
        ),
        Panel(
            f"Computed within {WITHIN_SECONDS} s",
            "Time in the queue and in the computation. The objective is 99 %.",
            "percentunit",
            {"{{model}}": slow_share(by="model").removeprefix("1 - ")},
        ),
        Panel(
            "Burn of the error budgets",
            "At 1, the last hour used up its share of the budget: 0.1 % errors of the server, 1 % slow requests.",
            "short",
            {
                "errors": f"({ratio(FAILED, REQUESTS, window='1h')}) / 0.001",
                "slow requests": f"({slow_share('1h')}) / 0.01",
            },
        ),
    ),
)
_PADDING_ROWS, _ROWS = (rate(own(metric), "model") for metric in ("batch_padding_rows_total", "batch_rows_sum"))
_SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Queue",
            "Requests that wait for the engine.",
            "short",
            {"{{model}}": f"sum by (model) ({own('queue_depth')})"},
        ),
        Panel(
            "Time in the queue",
            "From a request's submission until its batch is taken, 95th percentile.",
            "s",
            {"{{model}}": quantile(0.95, own("queue_seconds_bucket"), "model")},
        ),
        Panel(
            "Batches computed at the same time",
            "Mean number. By default, it cannot exceed the number of cores.",
            "short",
            {"{{model_name}}": f"{rate(serving('serving:runtime_latency_sum'), 'model_name')} / 1e6"},
        ),
        Panel(
            "Rows per batch",
            "Mean number of rows that are computed together.",
            "short",
            {"{{model}}": ratio(own("batch_rows_sum"), own("batch_rows_count"), "model")},
        ),
        Panel(
            "Padding",
            "Share of the computed tokens and rows that are padding.",
            "percentunit",
            {
                "{{model}} tokens": ratio(own("padding_tokens_total"), own("tokens_total"), "model"),
                "{{model}} rows": f"{_PADDING_ROWS} / ({_PADDING_ROWS} + {_ROWS})",
            },
        ),
        Panel(
            "Requests in flight",
            "Received and not answered yet.",
            "short",
            {"{{instance}}": "sum by (instance) (" + "bertbundle_requests_in_flight" + braces('job=~"$job"') + ")"},
        ),
    ),
)


def _by_model(expression: str) -> str:
    """Return a query by `model_name` with the label that the server's own metrics use."""
    return f'label_replace({expression}, "model", "$1", "model_name", "(.*)")'


_MODELS = Row(
    "Models",
    (
        Panel(
            "Models",
            "The newest values of each model.",
            "short",
            {
                "requests/s": _by_model(rate(REQUESTS, "model_name")),
                "errors": _by_model(ratio(NOT_OK, REQUESTS, "model_name")),
                "p99 µs": _by_model(quantile(0.99, LATENCY, "model_name")),
                "queue": f"sum by (model) ({own('queue_depth')})",
                "padding": ratio(own("padding_tokens_total"), own("tokens_total"), "model"),
                "oldest version": f"min by (model) ({own('newest_version')})",
                "newest version": f"max by (model) ({own('newest_version')})",
            },
            kind="table",
        ),
    ),
)

OVERVIEW = Dashboard(
    "bertbundle-overview",
    "bertbundle: overview",
    "Traffic, errors, latency and its objective, saturation, and a line for each model.",
    ("job", "model"),
    (_TRAFFIC, _ERRORS, _OBJECTIVE, _SATURATION, _MODELS),
)
