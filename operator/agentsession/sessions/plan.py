"""What a decision is made of: actions for the controller to carry out in order, and the status to write after them."""

from dataclasses import dataclass, field
from datetime import timedelta

from agentsession.api.session import AgentSessionStatus
from agentsession.kube.objects import Key

from .turns import NextPrompt


class Once:
    """What must not happen twice. It is done after the status that tells of it was written, and that write is refused
    if the object has changed: so neither a stale cache nor a leader that is no more can do it again."""


@dataclass(frozen=True)
class CreateRunner(Once):
    """Create the session's pod and, in the same step, grant it the session."""


@dataclass(frozen=True)
class Claim:
    """Make a pool's runner this session's, by one guarded write: grant, owner, deadline. Who is second loses."""

    pool_uid: str
    pod: Key
    pod_uid: str
    deadline: timedelta
    """What the session may use, from the pod's start on."""


@dataclass(frozen=True)
class DeleteRunner:
    """Delete that very pod, and no later one of the same name.

    grace_seconds: None is the pod's own; 0 does not wait for its node to say that it is gone.
    """

    pod: Key
    pod_uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True)
class Listen:
    """Follow the runner's state; every change that no bind has heard brings the session back into the queue."""

    pod_uid: str
    ip: str


@dataclass(frozen=True)
class Bind:
    """Bind the runner to the session, and have it asked the first prompt with that if it was warm.

    The next decision is made from its answer.
    """

    pod_uid: str
    ip: str
    prompt: NextPrompt | None = None


@dataclass(frozen=True)
class Prompt(Once):
    """Give the runner a turn's prompt. A second delivery of the same uuid does nothing."""

    pod_uid: str
    ip: str
    uuid: str
    text: str


@dataclass(frozen=True)
class Drain(Once):
    """Have the runner end its agent and say how far it came. A second call changes nothing."""

    pod_uid: str
    ip: str


@dataclass(frozen=True)
class DeleteSession:
    """The object outlived its ttlSecondsAfterFinished."""


Action = CreateRunner | Claim | DeleteRunner | Listen | Bind | Prompt | Drain | DeleteSession


@dataclass(frozen=True)
class Plan:
    """One step. Actions are idempotent: whatever was done before a crash is observed, or harmlessly done again."""

    status: AgentSessionStatus
    actions: list[Action] = field(default_factory=list)
    requeue_after: timedelta | None = None
    at_once: bool = False
    """What the actions bring is decided from before anything is told: no status is written in between."""
    settle_usage: bool = False
    """Usage must be pulled from every egress process, and the step decided anew with it: it says Finished."""
