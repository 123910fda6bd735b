"""The egress plane's answer to whoever uses an identity, a grant or a token that is not theirs.

Each attack stands beside the same request made rightly, which is served.
"""

import asyncio
import base64
import os
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from agentsession.keys.grant import Grant
from agentsession.keys.identity import LIFETIME, Identity
from agentsession.keys.keyring import Keyring
from agentsession.kube.connection import Connection
from agentsession.kube.errors import ForbiddenError
from agentsession.kube.resource import AGENTSESSIONS, PODS, SECRETS
from agentsession.resources.names import EGRESS_KEYS, GRANT_ANNOTATION, OPERATOR_KEYS, RUNNER_SERVICE_ACCOUNT
from agentsession_runner.protocol import SERVICE_ACCOUNT_TOKEN
from devcluster.errors import DevclusterError
from devcluster.install import NAMESPACE as SYSTEM
from devcluster.install import RELEASE
from devcluster.kubectl import kubectl

from .attacker import (
    IDENTITY,
    MESSAGES,
    Answer,
    Place,
    ask,
    impostor,
    impostors_admitted,
    own_identity,
    runner_of,
    start_pod,
)
from .world import SECONDS, Team, World

pytestmark = pytest.mark.node

SERVED = Answer(status=200, why="")
NOW = datetime.now(UTC)
STRANGER = Keyring.generate(NOW)


async def runner(team: Team, name: str, turns: int = 200) -> Place:
    """The runner of a session that has had its first turn and goes on."""
    await team.start(name, "[[say: here]]", lifecycle="LongRunning", limits={"turns": turns})
    return runner_of(team.world, await team.idle(name))


async def stolen_keys(world: World, suffix: str) -> Keyring:
    """The signing keys of the operator or of the egress plane, as an administrator can read them."""
    secret = await world.api.get(SECRETS, (SYSTEM, f"{RELEASE}-{suffix}"))
    return Keyring.load(base64.b64decode(secret["data"]["keys.json"]).decode())


async def until_answered(place: Place, status: int, *why: str) -> None:
    """Ask until the answer has that status, for one of those reasons; the watches may be a moment behind."""
    async with asyncio.timeout(SECONDS):
        while (answer := await ask(place)).status != status or not any(part in answer.why for part in why):
            pass


async def test_an_identity_is_worthless_elsewhere(world: World) -> None:
    ours, theirs = await asyncio.gather(world.team(), world.team())
    here, beside, far = await asyncio.gather(runner(ours, "a"), runner(ours, "b"), runner(theirs, "c"))
    stolen = await own_identity(here)
    claimed = {"X-Forwarded-For": await here.address(), "Forwarded": f"for={await here.address()}"}
    assert await ask(here, stolen) == SERVED
    for thief in (beside, far):
        assert await ask(thief) == SERVED
        for path in (MESSAGES, IDENTITY):
            answer = await ask(thief, stolen, path=path, headers=claimed)
            assert (answer.status, "another address" in answer.why) == (403, True)


async def test_an_identity_that_was_not_issued(team: Team) -> None:
    here = await runner(team, "a")
    keys = await stolen_keys(team.world, EGRESS_KEYS)
    claims = jwt.decode(await own_identity(here), options={"verify_signature": False})
    identity = Identity.model_validate(claims)
    assert await ask(here, identity.sign(keys, NOW)[0]) == SERVED
    forged, expired = identity.sign(STRANGER, NOW)[0], identity.sign(keys, NOW - 2 * LIFETIME)[0]
    for token, why in ((forged, "unknown key"), (expired, "expired"), ("", "no identity")):
        answer = await ask(here, token)
        assert (answer.status, why in answer.why) == (401, True), answer


@pytest.mark.parametrize("end", ["deleted", "finished"])
async def test_an_agent_that_outlives_its_session_is_not_served(team: Team, end: str) -> None:
    """It stops the runner's process, so that nothing drains, and has the pod's grace period to itself."""
    here = await runner(team, "a", turns=2)
    assert await ask(here) == SERVED
    await here.shell("sh", "-c", "kill -STOP $(cat /proc/1/task/1/children)")
    if end == "deleted":
        await team.world.api.delete(AGENTSESSIONS, (team.namespace, "a"))
    else:
        assert (await ask(here)).status == 429
        await team.finished("a")
    await until_answered(here, 403, "has ended", "does not exist any more", "is ending")
    await team.world.api.delete(PODS, (team.namespace, here.pod), grace_seconds=0)


async def test_only_the_operators_word_for_this_very_pod_is_a_grant(team: Team) -> None:
    real = await runner(team, "a")
    pod = await team.world.api.get(PODS, (team.namespace, real.pod))
    copied = pod["metadata"]["annotations"][GRANT_ANNOTATION]
    with pytest.raises(ForbiddenError, match="only the operator creates pods"):
        await start_pod(team.world, impostor(pod, "fake", copied))
    async with impostors_admitted(team.world):
        fake = await start_pod(team.world, impostor(pod, "fake", copied))
        assert await ask(real) == SERVED
        await until_answered(fake, 403, "another pod")

        uid = (await team.world.api.get(PODS, (team.namespace, "fake")))["metadata"]["uid"]
        claims = jwt.decode(copied, options={"verify_signature": False})
        grant = Grant.model_validate({**claims, "pod_uid": uid})
        signed_by_the_operator = (await stolen_keys(team.world, OPERATOR_KEYS), 200, "")
        for keys, status, why in ((STRANGER, 403, "unknown key"), signed_by_the_operator):
            annotations = {GRANT_ANNOTATION: grant.sign(keys)}
            await team.world.api.merge_patch(PODS, (team.namespace, "fake"), {"metadata": {"annotations": annotations}})
            await until_answered(fake, status, why)


async def test_the_service_account_token_is_worth_one_identity_and_nothing_else(world: World) -> None:
    ours, theirs = await asyncio.gather(world.team(), world.team())
    here, far = await asyncio.gather(runner(ours, "a"), runner(theirs, "b"))
    pod = await world.api.get(PODS, (here.namespace, here.pod))
    async with impostors_admitted(world):
        fake = await start_pod(world, impostor(pod, "fake"))
    stolen = await fake.shell("cat", SERVICE_ACCOUNT_TOKEN)
    assert await ask(fake, stolen, path=IDENTITY) == SERVED
    answer = await ask(far, stolen, path=IDENTITY)
    assert (answer.status, "this connection comes from" in answer.why) == (403, True), answer
    assert (await ask(fake, stolen)).status == 401

    admin = world.installed.kubeconfig
    usual = kubectl(admin, "create", "token", RUNNER_SERVICE_ACCOUNT, "--namespace", ours.namespace).strip()
    assert f"{ours.namespace}:{RUNNER_SERVICE_ACCOUNT}" in who_am_i(admin, usual)
    with pytest.raises(DevclusterError, match="Unauthorized"):
        who_am_i(admin, stolen)


def who_am_i(kubeconfig: Path, token: str) -> str:
    """Whom the API server takes the bearer of a token for. Raises DevclusterError if for nobody."""
    server = Connection.from_kubeconfig(str(kubeconfig)).server
    arguments = ("--server", server, "--insecure-skip-tls-verify", "--token", token)
    return kubectl(Path(os.devnull), *arguments, "auth", "whoami")
