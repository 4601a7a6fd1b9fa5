"""PromQL of the dashboards: selectors, rates, ratios and quantiles, over what the dashboards' variables select."""

from __future__ import annotations

__all__ = [
    "FAILED",
    "LATENCY",
    "NOT_OK",
    "ON_INSTANCE",
    "RATE",
    "REQUESTS",
    "WITHIN_SECONDS",
    "braces",
    "own",
    "process",
    "quantile",
    "rate",
    "ratio",
    "serving",
    "slow_share",
]

WITHIN_SECONDS = "0.256"
"""The latency objective: 99 % of the requests are computed within this time, a bucket of bertbundle_request_seconds."""

RATE = "$__rate_interval"
"""Grafana's variable: the window of a rate that fits the time range and the interval of the scrapes."""

# The statuses that count against the objective of 99.9 %; the others are mistakes of the caller.
_SERVER_ERRORS = "status=~'DEADLINE_EXCEEDED|INTERNAL|RESOURCE_EXHAUSTED|UNAVAILABLE|UNKNOWN|DATA_LOSS'"


def serving(metric: str, *matchers: str) -> str:
    """Return a selector of a metric of TensorFlow Serving."""
    return f":tensorflow:{metric}" + braces('job=~"$job"', 'model_name=~"$model"', *matchers)


def own(metric: str, *matchers: str) -> str:
    """Return a selector of a metric of the embedded server."""
    return f"bertbundle_{metric}" + braces('job=~"$job"', 'model=~"$model"', *matchers)


def process(metric: str) -> str:
    """Return a selector of a metric of a process, which has no model."""
    return metric + braces('job=~"$job"', 'instance=~"$instance"')


def braces(*matchers: str) -> str:
    """Return matchers as a selector, with double quotes.

    >>> braces("status!='OK'")
    '{status!="OK"}'
    """
    return "{" + ",".join(matcher.replace("'", '"') for matcher in matchers) + "}"


def rate(selector: str, by: str = "", window: str = RATE) -> str:
    """Return the sum of the increases per second of a counter.

    >>> rate("requests", "status", "5m")
    'sum by (status) (rate(requests[5m]))'
    """
    return f"sum{f' by ({by})' if by else ''} (rate({selector}[{window}]))"


def ratio(part: str, whole: str, by: str = "", window: str = RATE) -> str:
    """Return the ratio of two rates."""
    return f"{rate(part, by, window)} / {rate(whole, by, window)}"


def quantile(share: float, buckets: str, by: str = "") -> str:
    """Return a quantile of a histogram's observations."""
    return f"histogram_quantile({share}, {rate(buckets, f'le, {by}' if by else 'le')})"


def slow_share(window: str = RATE, by: str = "") -> str:
    """Return the share of the requests that took longer than the objective."""
    within = own("request_seconds_bucket", f"le='{WITHIN_SECONDS}'")
    return f"1 - {ratio(within, own('request_seconds_count'), by, window)}"


REQUESTS = serving("serving:request_count")
FAILED = serving("serving:request_count", _SERVER_ERRORS)
NOT_OK = serving("serving:request_count", "status!='OK'")
LATENCY = serving("serving:request_latency_bucket")
ON_INSTANCE = "instance=~'$instance'"
