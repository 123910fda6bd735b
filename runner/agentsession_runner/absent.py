"""Packages that need not be there: what imports them gets placeholders.

The agent SDK imports `mcp` and `jsonschema` for servers that run in its own process. No runner has any: the CLI starts
those of users. The two would take 0.5 s of CPU of each session's start, and 23 MiB for as long as it lasts.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Placeholder:
    """In the place of any class of such a package, also as a base with options, as pydantic's models take them."""

    def __init_subclass__(cls, **_: object) -> None:
        super().__init_subclass__()


class _Finder(MetaPathFinder, Loader):
    def __init__(self, packages: tuple[str, ...]) -> None:
        self.made: list[str] = []
        self._packages = packages

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self._packages else None

    def exec_module(self, module: ModuleType) -> None:
        self.made.append(module.__name__)
        module.__getattr__ = lambda _: Placeholder  # type: ignore[method-assign]


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """What is imported meanwhile gets placeholders, and keeps them."""
    finder = _Finder(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.made:
            del sys.modules[name]
