"""How many runners a pool keeps that sizes itself: as many as come while one starts, nearly always.

A runner that is claimed is missed until the next one is ready, `start` seconds later. The sessions that come in that
time are taken as negative binomial, which is Poisson with bursts; the part of them that a number of runners serves is
what stores of goods know as the fill rate. Pure: time is an argument, in seconds from anywhere, never backwards.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from statistics import NormalDist

FAST, SLOW = 20.0, 300.0
"""Half-lives of the two rates. The fast one counts once it is above PANIC times the slow one, as in Knative."""
PANIC = 2.0
MEMORY = 1800.0
"""Half-life of what is known of bursts."""
MOST_BURSTY = 6.0
"""Variance of the sessions in one start, in multiples of their mean: at least 1, which is Poisson, at most this."""
HOLD = 300.0
"""A pool becomes smaller only once it has been too large for so long,"""
STEP = 10.0
"""and then by one runner in so many seconds."""
MANY = 500.0
"""From this mean on a quantile of the normal distribution is taken, which is more than enough."""


class Rate:
    """Events per second, of which those that are `half_life` seconds old count half."""

    def __init__(self, half_life: float, began: float) -> None:
        self._decay = math.log(2) / half_life
        self._value, self._at = 0.0, began

    def add(self, at: float, count: float = 1.0) -> None:
        """So many events."""
        self._value, self._at = self.at(at) + self._decay * count, at

    def at(self, now: float) -> float:
        """The rate then."""
        return self._value * math.exp(-self._decay * (now - self._at))


class Sizer:
    """What one pool needs. size: what it was told to have last."""

    def __init__(self, began: float, size: int = 0) -> None:
        self._fast, self._slow = Rate(FAST, began), Rate(SLOW, began)
        self._squares, self._means = Rate(MEMORY, began), Rate(MEMORY, began)
        self._span_began, self._in_span, self._expected = began, 0, 0.0
        self._needs: deque[tuple[float, int]] = deque()
        self._size, self._lowered = size, began

    def arrived(self, at: float, start: float) -> None:
        """A session has come that could claim a runner. start: seconds that a runner takes to be ready."""
        self._compare(at, start)
        self._in_span += 1
        self._fast.add(at)
        self._slow.add(at)

    def size(self, now: float, start: float, warm: float) -> int:
        """Runners to keep. warm: the part of the sessions that is to find one ready."""
        self._compare(now, start)
        need = self._need(now, start, warm)
        while self._needs and self._needs[-1][1] <= need:  # what falls from here on is the greatest of HOLD seconds
            self._needs.pop()
        self._needs.append((now, need))
        while self._needs[0][0] < now - HOLD:
            self._needs.popleft()
        wanted = self._needs[0][1]
        if wanted >= self._size:
            self._size, self._lowered = wanted, now
        elif now - self._lowered >= STEP:
            self._size, self._lowered = self._size - 1, now
        return self._size

    def _need(self, now: float, start: float, warm: float) -> int:
        fast, slow = self._fast.at(now), self._slow.at(now)
        mean = start * (fast if fast > PANIC * slow else slow)
        means = self._means.at(now)
        bursts = self._squares.at(now) / means if means > 0 else 1.0
        return enough(mean, min(max(bursts, 1.0), MOST_BURSTY), warm)

    def _compare(self, now: float, start: float) -> None:
        """What came in each span of one start with what was to be expected at its begin."""
        self._span_began = max(self._span_began, now - MEMORY)
        while now - self._span_began >= start:
            self._span_began += start
            self._squares.add(self._span_began, (self._in_span - self._expected) ** 2)
            self._means.add(self._span_began, self._expected)
            self._in_span, self._expected = 0, self._slow.at(self._span_began) * start


def enough(mean: float, bursts: float, warm: float) -> int:
    """The fewest runners with which that part of those who come in one start finds one; 0 if hardly anybody comes.

    mean: of the number that comes. bursts: its variance in multiples of the mean, 1 or more.
    """
    if mean > MANY:
        return math.ceil(mean + NormalDist().inv_cdf(warm) * math.sqrt(bursts * mean))
    sure, missed = 0.0, mean
    for number, chance in enumerate(_chances(mean, bursts)):
        if missed <= (1.0 - warm) * mean or (number == 0 and chance >= warm):
            return number
        sure += chance
        missed -= 1.0 - sure  # one more runner serves whoever would be the next
    raise AssertionError("chances do not end")


def _chances(mean: float, bursts: float) -> Iterator[float]:
    """That nobody comes, that one does, that two do, and so on."""
    spread = 1.0 - 1.0 / bursts
    if spread < 1e-6:
        chance = math.exp(-mean)
        for number in itertools.count(1):
            yield chance
            chance *= mean / number
    shape = mean / (bursts - 1.0)
    chance = bursts**-shape
    for number in itertools.count(1):
        yield chance
        chance *= (shape + number - 1) / number * spread
