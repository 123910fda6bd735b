"""What networks, overload and crashes do to requests for an API server, and to which of them.

- `faults.append(Fault(503))`: the next request.
- `rules.append(Rule(Fault(409), verbs={"patch"}, resources={"agentsessions/status"}, probability=0.2))`: one request in
  five, drawn from `random`, which has a fixed seed.
- `Fault(delay=0.3, lose="nothing")` is latency; `Fault(429, headers={"Retry-After": "1"})` an overloaded server;
  `Fault(lose="answer")` a write that is committed and not answered, or a watch that breaks at its next event.
- `crash_at(3, lose="answer")` is the death of the only client right after its third write from now was committed, with
  "request" right before: nothing gets through any more.
"""

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

Lose = Literal["request", "answer", "nothing"]
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    status: answered so, with `body`, and not forwarded; 0: see `lose`. lose: the "request", so that nothing was done,
    or the "answer", so that it was; the connection breaks. delay: seconds before anything else.
    """

    status: int = 0
    lose: Lose = "request"
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "overloaded"


@dataclass(frozen=True)
class Rule:
    """Which requests a fault happens to, as RBAC would name them.

    verbs: get, list, watch, create, update, patch, delete. resources: plural, with the subresource if there is one, as
    "pods" or "agentsessions/status". Empty means any. probability: of each request that is meant.
    """

    fault: Fault
    verbs: Collection[str] = ()
    resources: Collection[str] = ()
    probability: float = 1.0

    def meets(self, verb: str, resource: str) -> bool:
        """Whether such a request is meant."""
        return (not self.verbs or verb in self.verbs) and (not self.resources or resource in self.resources)


def asked(method: str, path: str, *, watch: bool) -> tuple[str, str]:
    """Verb and resource of a request, as RBAC would name them."""
    parts = path.strip("/").split("/")
    parts = parts[2 if parts[0] == "api" else 3 :]
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    resource = "/".join([parts[0], *parts[2:]])
    return _VERBS.get(method) or ("watch" if watch else "get" if len(parts) > 1 else "list"), resource


class Faults:
    """`faults` are used up request by request; then the first of `rules` that strikes does. `seen` is what came, as
    "METHOD path?query"; `writes` counts what was not a GET. `crashed` is set by the request that `crash_at` named."""

    def __init__(self, seed: int = 0) -> None:
        self.faults: list[Fault] = []
        self.rules: list[Rule] = []
        self.random = random.Random(seed)  # noqa: S311
        self.seen: list[str] = []
        self.writes = 0
        self.crashed = asyncio.Event()
        self._crash: tuple[int, Lose] | None = None

    def crash_at(self, write: int, *, lose: Lose) -> None:
        """Let nothing through any more from the `write`th write on; that one itself is lost as told."""
        self._crash = (self.writes + write, lose)

    def call_off(self) -> None:
        """Nothing of all that will happen any more; whoever is dead stays so."""
        self.faults.clear()
        self.rules.clear()
        if not self.crashing:
            self._crash = None

    def strike(self, method: str, path: str, query: str, *, watch: bool) -> Fault | None:
        """What happens to this request, which is counted."""
        self.seen.append(f"{method} {path}?{query}" if query else f"{method} {path}")
        if method != "GET":
            self.writes += 1
        if self._crash is not None and self.writes >= self._crash[0]:
            last_words = self.writes == self._crash[0] and method != "GET"
            return Fault(lose=self._crash[1] if last_words else "request")
        if self.faults:
            return self.faults.pop(0)
        verb, resource = asked(method, path, watch=watch)
        meant = (rule for rule in self.rules if rule.meets(verb, resource))
        return next((rule.fault for rule in meant if self.random.random() < rule.probability), None)

    @property
    def crashing(self) -> bool:
        """Whether the client is dead, once this request is."""
        return self._crash is not None and self.writes >= self._crash[0]
