"""How many runners a pool keeps that sizes itself."""

import itertools
import math
import random

import pytest

from agentsession.pools.sizing import HOLD, MANY, STEP, Sizer, enough
from bench.pools import TRACES, Auto, Fixed, Keda, read, simulate

pytestmark = pytest.mark.unit

START = 10.0


def fed(rate: float, seconds: float, seed: int = 1) -> tuple[Sizer, float]:
    """After Poisson arrivals of that rate; and the time."""
    drawn, sizer, now = random.Random(seed), Sizer(0.0), 0.0  # noqa: S311
    while (now := now + drawn.expovariate(rate)) < seconds:
        sizer.arrived(now, START)
        sizer.size(now, START, 0.95)
    return sizer, seconds


def mass(mean: float, bursts: float, k: int) -> float:
    """That k come."""
    if bursts == 1.0:
        return math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
    shape = mean / (bursts - 1)
    choose = math.lgamma(k + shape) - math.lgamma(shape) - math.lgamma(k + 1)
    return math.exp(choose - shape * math.log(bursts) + k * math.log(1 - 1 / bursts))


def served(mean: float, bursts: float, runners: int) -> float:
    """The part of those who come that so many runners serve, by its definition."""
    return sum(min(k, runners) * mass(mean, bursts, k) for k in range(3000)) / mean


@pytest.mark.parametrize("warm", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("mean", "bursts"), [(1.0, 1.0), (5.0, 3.0), (60.0, 1.5), (2.0, 6.0), (400.0, 6.0), (499.0, 1.0)]
)
def test_no_fewer_would_serve_as_many(mean: float, bursts: float, warm: float) -> None:
    number = enough(mean, bursts, warm)
    assert served(mean, bursts, number - 1) < warm <= served(mean, bursts, number)


@pytest.mark.parametrize(("mean", "number"), [(0.0, 0), (0.04, 0), (0.06, 1)])
def test_for_hardly_anybody_none_is_kept(mean: float, number: int) -> None:
    assert enough(mean, 1.0, 0.95) == number


@pytest.mark.parametrize("bursts", [1.0, 2.0, 6.0])
@pytest.mark.parametrize("warm", [0.9, 0.99])
def test_for_very_many_it_is_more_than_enough(bursts: float, warm: float) -> None:
    below, above = enough(MANY, bursts, warm), enough(MANY + 1e-6, bursts, warm)
    assert below <= above <= 1.3 * below


def test_nobody_means_none() -> None:
    assert Sizer(0.0).size(1000.0, START, 0.99) == 0


@pytest.mark.parametrize("rate", [0.05, 0.5, 3.0])
def test_steady_demand_is_met_and_not_much_more(rate: float) -> None:
    sizer, now = fed(rate, 4000.0)
    needed = enough(rate * START, 1.0, 0.95)
    assert needed <= sizer.size(now, START, 0.95) <= 2 * needed + 3


def test_a_sudden_rush_is_answered_at_once() -> None:
    sizer, now = fed(0.05, 2000.0)
    before = sizer.size(now, START, 0.95)
    for number in range(20):
        sizer.arrived(now + number / 10, START)
    assert sizer.size(now + 2, START, 0.95) > before + 5


def test_what_was_needed_is_kept_for_a_while_and_then_goes_one_by_one() -> None:
    sizer, now = Sizer(0.0), 3.0
    for number in range(30):
        sizer.arrived(now * number / 30, START)
    size = sizer.size(now, START, 0.95)
    assert size > 10
    assert sizer.size(now + HOLD, START, 0.95) == size
    later = [sizer.size(now + HOLD + STEP * number, START, 0.95) for number in range(1, 200)]
    assert all(before - after in (0, 1) for before, after in itertools.pairwise(later))
    assert later[-1] == 0


def test_a_new_leader_lowers_what_it_found_one_by_one() -> None:
    sizer = Sizer(0.0, size=9)
    assert [sizer.size(STEP * number, START, 0.95) for number in (1, 2, 3)] == [8, 7, 6]


@pytest.mark.parametrize("trace", ["azure-code.txt", "azure-conv.txt"])
def test_on_what_really_came_it_keeps_its_word_for_less_than_the_rate_rule(trace: str) -> None:
    arrivals, start = read(TRACES / trace, 1, 1), 11.0
    auto = simulate(arrivals, Auto(95, start), start, 1)
    rate = simulate(arrivals, Keda(0.02), start, 1)
    assert auto.warm / auto.sessions >= 0.95
    assert auto.idle < 0.9 * rate.idle
    fixed = simulate(arrivals, Fixed(math.ceil(auto.idle / arrivals[-1])), start, 1)
    assert auto.warm > fixed.warm - 0.04 * fixed.sessions
