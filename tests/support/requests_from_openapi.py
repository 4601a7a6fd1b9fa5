"""Make requests from an OpenAPI document with schemathesis: ``python requests_from_openapi.py URL REQUESTS MODEL...``.

It is a program of its own because pytest would rewrite all modules of schemathesis, which is a plugin of pytest.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.request import urlopen

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_calls import fetch


def main(url: str, requests: int, models: list[str]) -> None:
    """Make requests that are valid by the document, and print their number.

    Raises:
        AssertionError: a response has a status of 500 or above, except a probe's 503, or one that the document does not
            have.
    """
    with urlopen(f"{url}/openapi.json") as response:  # noqa: S310 - loopback
        schema = schemathesis.openapi.from_dict(json.load(response))
    results: list[Any] = list(schema.get_all_operations())
    operations = [result.ok() for result in results]
    # Operations without a body have few different requests.
    examples = requests // sum(operation.method == "post" for operation in operations) + 1
    print(sum(_check(url, operation, examples, models) for operation in operations))


def _check(url: str, operation: Any, examples: int, models: list[str]) -> int:
    calls = 0

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(), name=st.sampled_from([*models, None]))
    def check(case: Any, name: str | None) -> None:
        nonlocal calls
        calls += 1
        if name is not None and "model" in (case.path_parameters or {}):
            case.path_parameters["model"] = name
        arguments = case.as_transport_kwargs(base_url=url)
        data = None if arguments.get("json") is None else json.dumps(arguments["json"]).encode()
        status, _, body = fetch(arguments["url"], data, method=arguments["method"])
        documented = [int(status) for status in operation.definition.raw["responses"]]
        is_not_ready = status == 503 and operation.path.endswith("/ready")  # of a version that is loading or has failed
        assert status < 500 or is_not_ready, (status, body, arguments)
        assert status in documented, (status, body, arguments)

    check()
    return calls


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
