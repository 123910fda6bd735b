"""Sessions that have finished, made without running them: what stays in a cluster where nobody deletes them."""

import asyncio
from datetime import datetime

from agentsession.api.base import to_json
from agentsession.api.session import AgentSession, Meter
from agentsession.kube.client import ApiClient
from agentsession.kube.objects import Key
from agentsession.kube.resource import AGENTSESSIONS
from agentsession.sessions.usage import totals

from .world import CREATES_AT_ONCE, NAMESPACES, session

WHEN = "2026-01-02T03:04:05Z"
PROMPT = "Look through the reports of last week and say what they have in common. " * 8
TEXT = "They have in common that nobody has read them before, as far as I can see. " * 14


async def finished_sessions(api: ApiClient, count: int) -> None:
    """As many, spread over all namespaces."""
    slots = asyncio.Semaphore(CREATES_AT_ONCE)

    async def one(key: Key) -> None:
        async with slots:
            made = await api.create(AGENTSESSIONS, session(key, prompt=PROMPT))
            uid = made["metadata"]["uid"]
            await api.apply_status(AGENTSESSIONS, key, _status(AgentSession.model_validate(made)), uid=uid)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one((NAMESPACES[number % len(NAMESPACES)], f"old-{number}")))


def _status(made: AgentSession) -> dict[str, object]:
    uid = made.metadata.uid
    said = (
        ("Accepted", "Accepted"),
        ("ResolvedRefs", "ResolvedRefs"),
        ("Contained", "Verified"),
        ("Ready", "Completed"),
        ("Finished", "Completed"),
    )
    meter = Meter(
        incarnation="egress-0-1", requests=7, input_tokens=21_000, output_tokens=900, cost_usd="0.0812", settled=True
    )
    turn = {"id": "prompt", "uuid": uid, "state": "Completed", "started": WHEN, "finished": WHEN, "text": TEXT[:256]}
    return {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "podName": f"{made.metadata.name}-{uid[:8]}",
        "startType": "Cold",
        "sessionId": uid,
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "observedGeneration": 1, "lastTransitionTime": WHEN}
            | {"message": "as it should be"}
            for kind, reason in said
        ],
        "timings": {"requested": WHEN, "ready": WHEN, "firstModelRequest": WHEN, "finished": WHEN},
        "turns": [turn],
        "turnsCompleted": 1,
        "result": {"text": TEXT},
        "usage": to_json(totals([meter]).model_copy(update={"until": datetime.fromisoformat(WHEN)})),
    }
