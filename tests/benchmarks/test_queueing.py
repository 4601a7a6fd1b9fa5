"""The simulation of replicas, against formulas of queueing theory."""

from __future__ import annotations

import numpy as np
import pytest

from queueing import ARRIVALS, BALANCERS, bursty, least_request, poisson, replicas_needed, round_robin

NUMBER = 400_000


@pytest.mark.parametrize("balancer", BALANCERS.values())
def test_mean_wait_of_one_replica(balancer: object) -> None:
    """One replica, constant service, Poisson arrivals: the mean wait is rho / (2 (1 - rho)) services (M/D/1)."""
    random = np.random.default_rng(0)
    latencies = balancer(poisson(0.8, NUMBER, random), np.ones(NUMBER), 1, random)  # type: ignore[operator]
    # The mean of a correlated series: its relative standard error is about 1 %, over seeds.
    assert np.mean(latencies) - 1 == pytest.approx(0.8 / (2 * 0.2), rel=0.05)


def test_percentile_of_one_replica() -> None:
    """With exponential service, the latency is exponential with the mean 1 / (1 - rho) (M/M/1)."""
    random = np.random.default_rng(0)
    latencies = round_robin(poisson(0.5, NUMBER, random), random.exponential(1.0, NUMBER), 1, random)
    assert np.percentile(latencies, 99) == pytest.approx(np.log(100) / 0.5, rel=0.05)


def test_round_robin_of_few_requests() -> None:
    """Each replica computes its own requests one after the other; more replicas than requests are no error."""
    random = np.random.default_rng(0)
    arrivals, services = np.array([0.0, 0.1, 0.2, 0.3]), np.array([1.0, 2.0, 1.0, 1.0])
    assert round_robin(arrivals, services, 2, random) == pytest.approx([1.0, 2.0, 1.8, 2.8])
    assert round_robin(arrivals, services, 9, random) == pytest.approx(services)


def test_least_request_is_better_than_random() -> None:
    """The less busy of two replicas gets the request: with two replicas a free one is always found."""
    random = np.random.default_rng(0)
    latencies = least_request(np.array([0.0, 0.1]), np.array([1.0, 1.0]), 1, random)
    assert latencies == pytest.approx([1.0, 1.9])
    times = poisson(8.0, 20_000, random)
    latencies = least_request(times, np.ones(20_000), 10, random)
    random_choice = np.concatenate(
        [round_robin(times[mask], np.ones(mask.sum()), 1, random) for mask in _random_masks(20_000, 10, random)]
    )
    assert np.percentile(latencies, 99) < np.percentile(random_choice, 99)


def _random_masks(number: int, parts: int, random: np.random.Generator) -> list[np.ndarray]:
    chosen = random.integers(0, parts, number)
    return [chosen == part for part in range(parts)]


@pytest.mark.parametrize("name", ARRIVALS)
def test_rate_of_arrivals(name: str) -> None:
    """Arrivals have the rate that was asked for, on average; bursts vary more than independent arrivals."""
    times = ARRIVALS[name](100.0, NUMBER, np.random.default_rng(0))
    assert len(times) == NUMBER
    assert (np.diff(times) >= 0).all()
    assert NUMBER / times[-1] == pytest.approx(100.0, rel=0.1)


def test_bursts_vary() -> None:
    """The counts of seconds vary more than those of independent arrivals, whose variance is their mean."""
    random = np.random.default_rng(0)
    ratios = []
    for process in (poisson, bursty):
        counts = np.bincount(process(100.0, 100_000, random).astype(int))[:-1]
        ratios.append(counts.var() / counts.mean())
    assert ratios[0] < 1.5
    assert ratios[1] > 10


def test_replicas_needed() -> None:
    """The number is the smallest that suffices; None says that the largest number does not."""
    samples = np.full(100, 0.01)
    needed = replicas_needed(1000.0, samples, poisson, round_robin, number=20_000)
    assert needed is not None
    assert 10 < needed < 30  # 10 would be busy all of the time
    random = np.random.default_rng(0)
    times = poisson(1000.0, 20_000, random)
    for replicas, suffices in ((needed, True), (needed - 1, False)):
        latencies = round_robin(times, np.full(20_000, 0.01), replicas, random)
        assert (np.percentile(latencies, 99) <= 0.03) == suffices
    assert replicas_needed(1000.0, samples, poisson, round_robin, number=20_000, most=9) is None
