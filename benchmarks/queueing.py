"""Simulate replicas behind a balancer: each computes one request at a time, in the order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["ARRIVALS", "BALANCERS", "Seconds", "bursty", "least_request", "poisson", "replicas_needed", "round_robin"]

Seconds = npt.NDArray[np.float64]
BURST_FACTOR, BURST_SHARE, BURST_SECONDS = 2.5, 0.2, 1.0
"""A burst has 2.5 times the average rate and lasts one second on average; a fifth of the time is in bursts."""


def poisson(rate: float, number: int, random: np.random.Generator) -> Seconds:
    """Return the times [number] of independent arrivals, in seconds; `rate` is their average number per second."""
    times: Seconds = np.cumsum(random.exponential(1 / rate, number))
    return times


def bursty(rate: float, number: int, random: np.random.Generator) -> Seconds:
    """Return the times [number] of arrivals whose rate alternates at random (a Markov-modulated Poisson process)."""
    calm = rate * (1 - BURST_FACTOR * BURST_SHARE) / (1 - BURST_SHARE)
    states = ((calm, BURST_SECONDS * (1 - BURST_SHARE) / BURST_SHARE), (rate * BURST_FACTOR, BURST_SECONDS))
    parts, begin, found, state = list[Seconds](), 0.0, 0, 0
    while found < number:
        state_rate, mean = states[state % 2]
        length = random.exponential(mean)
        parts.append(begin + np.sort(random.uniform(0, length, random.poisson(state_rate * length))))
        begin, found, state = begin + length, found + len(parts[-1]), state + 1
    times: Seconds = np.concatenate(parts)[:number]
    return times


def round_robin(arrivals: Seconds, services: Seconds, replicas: int, random: np.random.Generator) -> Seconds:
    """Return the seconds [number] from arrival to answer, if each replica gets every n-th request.

    Source: Lindley's recursion for the waiting time, W' = max(0, W + service - time to the next arrival).
    """
    del random
    latencies = np.empty_like(arrivals)
    for replica in range(min(replicas, len(arrivals))):
        times, service = arrivals[replica::replicas], services[replica::replicas]
        walk = np.concatenate([[0.0], np.cumsum(service[:-1] - np.diff(times))])
        latencies[replica::replicas] = walk - np.minimum.accumulate(walk) + service
    return latencies


def least_request(arrivals: Seconds, services: Seconds, replicas: int, random: np.random.Generator) -> Seconds:
    """Return the seconds [number] if each request goes to the less busy of two random replicas, as in Envoy."""
    ends = [deque[float]() for _ in range(replicas)]
    pairs = random.integers(0, replicas, (len(arrivals), 2)).tolist()
    latencies = []
    for now, service, pair in zip(arrivals.tolist(), services.tolist(), pairs, strict=True):
        for replica in pair:
            while ends[replica] and ends[replica][0] <= now:
                ends[replica].popleft()
        queue = min((ends[replica] for replica in pair), key=len)
        queue.append(max(now, queue[-1] if queue else now) + service)
        latencies.append(queue[-1] - now)
    return np.array(latencies)


Arrivals = Callable[[float, int, np.random.Generator], Seconds]
Balancer = Callable[[Seconds, Seconds, int, np.random.Generator], Seconds]
ARRIVALS: Mapping[str, Arrivals] = {"Poisson": poisson, "bursty": bursty}
BALANCERS: Mapping[str, Balancer] = {"round robin": round_robin, "least request of two": least_request}


def replicas_needed(
    rate: float, samples: Seconds, arrivals: Arrivals, balancer: Balancer, *, number: int = 50_000, most: int = 1000
) -> int | None:
    """Return the smallest number of replicas whose 99th percentile is at most 3 times the mean service time.

    Args:
        rate: requests per second.
        samples: measured service times, which are drawn from at random.
        arrivals: the process of the arrivals.
        balancer: how they are distributed.
        number: number of simulated requests.
        most: the largest number of replicas.

    Returns:
        The number of replicas; None if `most` are too few.
    """
    random = np.random.default_rng(0)
    times, services = arrivals(rate, number, random), random.choice(samples, number)

    def suffice(replicas: int) -> bool:
        latencies = balancer(times, services, replicas, np.random.default_rng(1))
        return bool(np.percentile(latencies, 99) <= 3 * samples.mean())

    low, high = 0, most
    if not suffice(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffice(middle) else (middle, high)
    return high
