"""The latest facts of a kind, each with a number, in constant memory.

In arrays: small objects that are kept while thousands around them go would keep the memory of all of them.
"""

from array import array
from collections.abc import Hashable

PLACES = 16_384


class Remembered:
    """As many as there are places. A fact's hash says which is its place: one that comes there later is put into it."""

    def __init__(self) -> None:
        self._facts = array("q", bytes(8 * PLACES))
        self._numbers = array("q", bytes(8 * PLACES))

    def note(self, fact: Hashable, number: int) -> None:
        """Remember it, or its new number."""
        place = hash(fact) % PLACES
        self._facts[place], self._numbers[place] = hash(fact), number

    def number(self, fact: Hashable) -> int:
        """Its number; 0 if it is not remembered."""
        place = hash(fact) % PLACES
        return self._numbers[place] if self._facts[place] == hash(fact) else 0
