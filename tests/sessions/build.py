"""Objects for decision tables, as short as they can be said."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agentsession.api.base import Condition
from agentsession.api.installation import Installation
from agentsession.api.pool import PoolTemplate
from agentsession.api.report import SessionUsage
from agentsession.api.session import AgentSession, AgentSessionStatus, Meter, Turn
from agentsession.api.tenant import AgentTenant
from agentsession.keys.grant import Grant
from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble
from agentsession.sessions.observed import Observed
from agentsession.sessions.turns import turn_uuid
from agentsession_runner.protocol import State, TurnState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEMPLATE = PoolTemplate.model_validate({"agent": {"model": "m"}})
CONVERSATION = "66666666-7777-8888-9999-000000000000"
UID = "11111111-2222-3333-4444-555555555555"

INSTALL = Installation.model_validate(
    {
        "name": "agentsession",
        "namespace": "agentsession-system",
        "operatorLabels": {"app.kubernetes.io/component": "operator"},
        "egressServiceAccount": "agentsession-egress",
        "egress": {
            "service": "agentsession-egress",
            "port": 8080,
            "podLabels": {"app.kubernetes.io/component": "egress"},
            "controlPort": 8081,
            "peersUrl": "http://agentsession-egress-peers.agentsession-system.svc:8081",
        },
        "canary": {"service": "agentsession-canary", "port": 8082},
        "upstreams": ["https://api.anthropic.com"],
        "runner": {
            "image": "runner:1",
            "images": ["runner:2"],
            "runtimeClassNames": ["gvisor"],
            "resources": {
                "requests": {"cpu": "1"},
                "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "5Gi"},
            },
        },
    }
)


def session(status: AgentSessionStatus | None = None, **spec: Any) -> AgentSession:
    """A session; `spec` in the wire form."""
    whole = {"prompt": "hello", "agent": {"model": "m"}, **spec}
    made = AgentSession.model_validate(
        {
            "metadata": {
                "name": "s",
                "namespace": "n",
                "uid": UID,
                "generation": 1,
                "creationTimestamp": "2026-01-02T03:00:00Z",
            },
            "spec": {key: value for key, value in whole.items() if value is not None},
        }
    )
    return made.model_copy(update={"status": status}) if status is not None else made


def tenant(*, ready: bool = True, models: tuple[str, ...] = ("m",), **spec: Any) -> AgentTenant:
    """A tenant that sessions can use, or not."""
    condition = Condition(
        type="Ready",
        status="True" if ready else "False",
        reason="Ready" if ready else "SecretNotFound",
        message="" if ready else "there is no Secret key",
        observed_generation=1,
        last_transition_time=NOW,
    )
    made = AgentTenant.model_validate(
        {
            "metadata": {"name": "default", "namespace": "n", "uid": "t-1", "generation": 1},
            "spec": {"provider": {"credentialSecretRef": {"name": "key"}, "models": list(models)}, **spec},
        }
    )
    made.status.conditions = [condition]
    return made


def grant(pod_uid: str) -> Grant:
    """The session's, for that pod."""
    return Grant(
        pod_uid=pod_uid,
        session_uid=UID,
        session_name="s",
        namespace="n",
        tenant="default",
        tenant_uid="t-1",
        epoch=1,
    )


def pod(*, deleting: bool = False, **fields: Any) -> PodView:
    """A runner pod that works. `deleting`: its grace period has just begun."""
    return replace(
        PodView(
            namespace="n",
            name="s-11111111",
            uid="p-1",
            phase="Running",
            ip="10.0.0.9",
            created=NOW - timedelta(seconds=4),
            started=NOW - timedelta(seconds=3),
            gone_by=NOW + timedelta(seconds=30) if deleting else None,
            grace_seconds=30 if deleting else None,
            deadline=timedelta(hours=1),
            node_silent=False,
            grant=grant("p-1"),
            membership=None,
            ready=True,
            ready_at=None,
            set_up=True,
            contained=True,
            running=True,
            trouble=None,
            ended_at=None,
        ),
        **fields,
    )


def ended_pod(reason: str, message: str = "why", ago: int = 0) -> PodView:
    """A runner pod whose containers ended."""
    return pod(
        phase="Failed",
        running=False,
        contained=False,
        trouble=Trouble(reason, message),
        ended_at=NOW - timedelta(seconds=ago),
    )


def runner(phase: str = "Ready", *turns: TurnState, bound: bool = True, **fields: Any) -> State:
    """What a runner says."""
    return State.model_validate(
        {
            "revision": 1,
            "phase": phase,
            "session_uid": UID if bound else None,
            "session_id": CONVERSATION,
            "turns": list(turns),
            **fields,
        }
    )


def said(turn: str = "prompt", phase: str = "Completed", text: str = "42", **fields: Any) -> TurnState:
    """A turn as a runner reports it."""
    return TurnState.model_validate({"uuid": turn_uuid(UID, turn), "phase": phase, "text": text, **fields})


def known(turn: str = "prompt", state: str = "Running") -> Turn:
    """A turn as status has it."""
    return Turn.model_validate({"id": turn, "uuid": turn_uuid(UID, turn), "state": state, "started": NOW})


def served(incarnation: str = "e-1", output: int = 0, **fields: Any) -> SessionUsage:
    """What an egress process reports."""
    meter = Meter(incarnation=incarnation, requests=1, output_tokens=output, cost_usd="0.10")
    return SessionUsage.model_validate(
        {"session_uid": UID, "namespace": "n", "session_name": "s", "meter": meter, **fields}
    )


def observed(**fields: Any) -> Observed:
    """All is there, but no pod yet."""
    return replace(
        Observed(
            tenant=tenant(),
            tenant_problem=None,
            namespace_ready=True,
            namespace_terminating=False,
            claim=None,
            widened_by=None,
            prompt="hello",
            prompt_problem=None,
            template=TEMPLATE,
            offer=None,
            ticket=None,
            claimed_before=False,
            pod=None,
            strays=[],
            runner=None,
            refusals=0,
            usage=[],
            lost_meters=frozenset(),
            usage_until=None,
            free_slots=1,
        ),
        **fields,
    )
