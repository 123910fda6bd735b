"""Follows the sessions live: one line for each change that a person would want to know of."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from devcluster import progress
from devcluster.demo.scene import sessions
from devcluster.errors import DevclusterError

POLL = 0.5


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class Metadata(_Model):
    namespace: str
    name: str


class Condition(_Model):
    type: str
    reason: str
    message: str = ""


class Result(_Model):
    text: str = ""


class Status(_Model):
    phase: str = "Pending"
    conditions: list[Condition] = []
    turns_completed: int = 0
    result: Result | None = None


class Session(_Model):
    """The part of an AgentSession that the demonstration prints."""

    metadata: Metadata
    status: Status = Status()

    @property
    def name(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def ready(self) -> Condition:
        unknown = Condition(type="Ready", reason="Unknown")
        return next((item for item in self.status.conditions if item.type == "Ready"), unknown)


def listed(kubeconfig: Path) -> dict[str, Session]:
    """The demonstration's sessions by namespace/name."""
    return {made.name: made for made in map(Session.model_validate, sessions(kubeconfig))}


def follow(kubeconfig: Path, done: Callable[[dict[str, Session]], bool], seconds: float) -> dict[str, Session]:
    """Print every change of phase, reason or turns until `done`.

    Raises:
        DevclusterError: it took longer than that.
    """
    last: dict[str, str] = {}
    for now in _snapshots(kubeconfig, seconds):
        for name, session in now.items():
            line = f"{session.status.phase} ({session.ready.reason}), turns: {session.status.turns_completed}"
            if last.get(name) != line:
                progress.say(f"  {name}: {line}")
                last[name] = line
        if done(now):
            return now
    raise DevclusterError(
        f"The sessions did not get there in {seconds:.0f} s. Look at them: kubectl describe agentsessions -A"
    )


def _snapshots(kubeconfig: Path, seconds: float) -> Iterator[dict[str, Session]]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield listed(kubeconfig)
        time.sleep(POLL)
