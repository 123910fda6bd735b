"""The latest facts of a kind, each with a number.

In arrays: small objects that are kept while thousands around them go would keep the memory of all of them.
"""

from array import array
from collections.abc import Hashable

MOST = 10_000


class Remembered:
    """So many: the oldest is forgotten for the next. A look-up is a linear search, which takes microseconds."""

    def __init__(self) -> None:
        self._facts = array("q")
        self._numbers = array("q")
        self._next = 0

    def note(self, fact: Hashable, number: int) -> None:
        """Remember it, or its new number."""
        if (place := self._find(fact)) is not None:
            self._numbers[place] = number
        elif len(self._facts) < MOST:
            self._facts.append(hash(fact))
            self._numbers.append(number)
        else:
            self._facts[self._next], self._numbers[self._next] = hash(fact), number
            self._next = (self._next + 1) % MOST

    def number(self, fact: Hashable) -> int | None:
        """Its number; None if it is not remembered."""
        place = self._find(fact)
        return self._numbers[place] if place is not None else None

    def _find(self, fact: Hashable) -> int | None:
        try:
            return self._facts.index(hash(fact))
        except ValueError:
            return None
