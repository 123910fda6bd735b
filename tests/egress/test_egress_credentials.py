"""What a Secret, or the want of one, means for a tenant, what is said about it, and when it is read again."""

import asyncio

import pytest

from agentsession.api.tenant import AgentTenant
from agentsession.egress.credentials import READY_SECONDS, UNREADY_SECONDS, Credentials, judge
from agentsession.egress.ledger import Ledger
from agentsession.kube.errors import ApiError, ForbiddenError, NotFoundError, ServerError
from agentsession.kube.objects import Key, KubeObject
from agentsession.resources.grants import grant_commands, grant_manifest

from . import build

pytestmark = pytest.mark.unit
INSTALL = build.installation("http://127.0.0.1:1", "https://api.anthropic.com")

CASES: dict[str, tuple[str, KubeObject | ApiError | None, str, str]] = {
    "ready": ("http://127.0.0.1:1", build.secret(), "Ready", ""),
    "ready, with a newline": ("http://127.0.0.1:1", build.secret(key=f"{build.KEY}\n"), "Ready", ""),
    "ready, one of several hosts": ("http://127.0.0.1:1", build.secret(hosts="a.example, 127.0.0.1"), "Ready", ""),
    "upstream": ("http://10.0.0.1:1", None, "UpstreamNotAllowed", "spec.provider.baseURL: the installer allows http"),
    "upstream, other port": ("http://127.0.0.1:2", build.secret(), "UpstreamNotAllowed", "baseURL"),
    "forbidden": ("http://127.0.0.1:1", ForbiddenError(403, "Forbidden", "no"), "GrantMissing", "create rolebinding"),
    "absent": (
        "http://127.0.0.1:1",
        NotFoundError(404, "NotFound", "no"),
        "SecretNotFound",
        "Secret team/key does not",
    ),
    "server away": ("http://127.0.0.1:1", ServerError(500, "", "no"), "Unknown", "tried again"),
    "other host": ("https://api.anthropic.com", build.secret(), "HostNotAllowed", "must name api.anthropic.com"),
    "host within another": ("http://127.0.0.1:1", build.secret(hosts="127.0.0.11"), "HostNotAllowed", "127.0.0.1"),
    "no hosts": ("http://127.0.0.1:1", {"metadata": {"name": "key"}, "data": {}}, "HostNotAllowed", "annotation"),
    "empty key": ("http://127.0.0.1:1", build.secret(key=" "), "KeyMissing", "'api-key'"),
    "two lines": ("http://127.0.0.1:1", build.secret(key="a\r\nx-other: b"), "KeyMissing", "one line"),
    "not text": ("http://127.0.0.1:1", build.secret(key="clé"), "KeyMissing", "ASCII"),
    "not base64": ("http://127.0.0.1:1", {**build.secret(), "data": {"api-key": "%"}}, "KeyMissing", "api-key"),
}


@pytest.mark.parametrize(("base_url", "secret", "state", "says"), CASES.values(), ids=CASES.keys())
def test_state_and_message(base_url: str, secret: KubeObject | ApiError | None, state: str, says: str) -> None:
    credential = judge(INSTALL, build.parsed_tenant(base_url), secret)
    found = credential.found
    assert (found.namespace, found.name, found.generation, found.state) == ("team", "default", 1, state)
    assert says in found.message
    assert "\n" not in found.message
    assert credential.key == (build.KEY if state == "Ready" else None)


def test_a_key_is_not_shown() -> None:
    assert build.KEY not in repr(judge(INSTALL, build.parsed_tenant("http://127.0.0.1:1"), build.secret()))


def test_the_grant_is_for_one_secret_and_one_account() -> None:
    role, binding = grant_manifest(INSTALL, "team", "key")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["key"], "verbs": ["get"]}]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "agentsession-egress", "namespace": "agentsession-system"}
    ]
    commands = grant_commands(INSTALL, "team", "key")
    assert "--resource-name=key" in commands
    assert "--serviceaccount=agentsession-system:agentsession-egress" in commands
    assert len(grant_commands(INSTALL, "n" * 63, "s" * 100)) < 900  # a condition's message has 1024 characters


class Secrets:
    """Secrets that are read as fast as the test wants, and the one process that reads them."""

    def __init__(self) -> None:
        self.reads: list[tuple[Key, asyncio.Future[KubeObject]]] = []
        self.tenants = build.directory().tenants
        self.ledger = Ledger("one")
        self.credentials = Credentials(self.read, INSTALL, self.tenants, self.ledger)

    async def read(self, key: Key) -> KubeObject:
        self.reads.append((key, asyncio.get_running_loop().create_future()))
        return await self.reads[-1][1]

    def begin(self, tenant: AgentTenant) -> "asyncio.Task[str | None]":
        """Ask for a tenant's key."""

        async def key() -> str | None:
            return (await self.credentials.of(tenant)).key

        return asyncio.create_task(key())


def generation(number: int, name: str) -> AgentTenant:
    """The tenant in that generation, with a Secret of that name."""
    raw = build.tenant(generation=number)
    raw["spec"]["provider"]["credentialSecretRef"] = {"name": name}
    return AgentTenant.model_validate(raw)


async def test_a_slow_reading_of_an_older_generation_does_not_replace_a_newer_one() -> None:
    secrets = Secrets()
    old, new = generation(1, "old"), generation(2, "new")
    first = secrets.begin(old)
    await build_up(secrets, 1)
    second = secrets.begin(new)
    await build_up(secrets, 2)
    found = build.secret(hosts="api.anthropic.com", key="new")
    secrets.reads[1][1].set_result(found)
    assert await second == "new"
    secrets.reads[0][1].set_exception(NotFoundError(404, "NotFound", "no"))
    assert await first is None, "who asked for the older one gets what it is"
    assert await secrets.begin(new) == "new", "and the newer one is kept"
    assert len(secrets.reads) == 2
    (told,) = secrets.ledger.report(0).tenants
    assert (told.generation, told.state) == (2, "Ready")


async def build_up(secrets: Secrets, count: int) -> None:
    """Wait for that many readings to be under way."""
    async with asyncio.timeout(5):
        while len(secrets.reads) < count:
            await asyncio.sleep(0)


async def test_what_nobody_puts_right_is_read_less_and_less_often() -> None:
    """Twelve readings of a Secret that stays absent; each is due later than the one before, up to a bound."""
    secrets = Secrets()
    pauses: list[float] = []
    clock = asyncio.get_running_loop().time
    tenant = build.parsed_tenant()

    async def read_again(answer: KubeObject | ApiError) -> float:
        task = asyncio.create_task(secrets.credentials.read(tenant))
        await build_up(secrets, len(pauses) + 1)
        future = secrets.reads[-1][1]
        if isinstance(answer, ApiError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        await task
        pauses.append(secrets.credentials.due(tenant) - clock())
        return pauses[-1]

    absent = NotFoundError(404, "NotFound", "no")
    told = [await read_again(absent) for _ in range(8)]
    assert told == pytest.approx([min(UNREADY_SECONDS * 2**n, READY_SECONDS) for n in range(8)], abs=0.5)
    assert await read_again(ForbiddenError(403, "Forbidden", "no")) == pytest.approx(UNREADY_SECONDS, abs=0.5), (
        "somebody is at work on it"
    )
    assert await read_again(build.secret(hosts="api.anthropic.com")) == pytest.approx(READY_SECONDS, abs=0.5)
    assert await read_again(absent) == pytest.approx(UNREADY_SECONDS, abs=0.5)
