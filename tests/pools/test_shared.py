"""What is looked at for a shared pool, and for its runners that serve sessions of other namespaces."""

from datetime import datetime
from typing import Any, cast

import pytest

from agentsession.keys.grant import Grant
from agentsession.keys.keyring import Keyring
from agentsession.keys.seals import Seals
from agentsession.kube.caches import Caches
from agentsession.kube.client import ApiClient
from agentsession.kube.errors import NotFoundError
from agentsession.kube.objects import Key, KubeObject
from agentsession.kube.resource import AGENTSESSIONS, Resource
from agentsession.pools.claimed import ClaimedController
from agentsession.pools.observe import Observer
from agentsession.resources.names import GRANT_ANNOTATION, POOL_LABEL, SESSION_NAMESPACE_LABEL
from agentsession.resources.network import network_policy
from agentsession.resources.tenancy import service_account
from agentsession.runners.podview import Views
from agentsession.runners.premises import Premises
from tests.sessions.build import INSTALL, NOW
from tests.sessions.inprocess import SURROUNDINGS

from .test_decide import pool

pytestmark = pytest.mark.unit

KEYRING = Keyring.generate(NOW)
LISTED = INSTALL.model_copy(update={"shared_pool_namespaces": ["n"]})
POD = ("n", "p-a")


class Api:
    """Answers as it is told to, and says what it was asked to delete."""

    def __init__(self, session: KubeObject | None) -> None:
        self.session = session
        self.deleted: list[tuple[Key, str]] = []
        self.applied: list[str] = []

    async def get(self, resource: Resource, key: Key) -> KubeObject:
        assert (resource, key) == (AGENTSESSIONS, ("home", "s"))
        if self.session is None:
            raise NotFoundError(404, "NotFound", "gone")
        return self.session

    async def delete(self, _: Resource, key: Key, uid: str, **__: object) -> KubeObject:
        self.deleted.append((key, uid))
        return {"metadata": {}}

    async def apply(self, resource: Resource, body: KubeObject) -> KubeObject:
        self.applied.append(resource.kind)
        return body


def runner(**metadata: Any) -> dict[str, Any]:
    """One that serves session s of namespace home."""
    grant = Grant(
        pod_uid="a",
        session_uid="s-1",
        session_name="s",
        namespace="home",
        pod_namespace="n",
        tenant="default",
        tenant_uid="t-1",
        epoch=1,
    )
    made = {
        "name": "p-a",
        "namespace": "n",
        "uid": "a",
        "resourceVersion": "1",
        "labels": {SESSION_NAMESPACE_LABEL: "home"},
        "annotations": {GRANT_ANNOTATION: grant.sign(KEYRING)},
    }
    return {"metadata": made | metadata, "status": {"phase": "Running"}}


def session(uid: str = "s-1", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s", "namespace": "home", "uid": uid, **metadata}}


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("cached", "there", "pod", "goes"),
    [
        (session(), None, runner(), False),
        (session(**GOING), None, runner(), True),
        (None, None, runner(), True),
        (None, session(), runner(), False),
        (None, session(**GOING), runner(), True),
        (None, session("s-2"), runner(), True),
        (session("s-2"), session("s-2"), runner(), True),
        (None, None, runner(**GOING), False),
        (None, None, runner(annotations={}), False),
        (None, None, runner(labels={}), False),
        (None, None, runner(uid="b"), False),
    ],
    ids=[
        "it is there",
        "it is going",
        "it is gone",
        "the watch is behind",
        "it is going, and the watch is behind",
        "another one has its name",
        "another one has its name, as the watch says",
        "its pod is going",
        "no grant",
        "no session of another namespace",
        "the grant of another pod",
    ],
)
async def test_a_runner_goes_when_its_session_is_gone(
    cached: KubeObject | None, there: KubeObject | None, pod: dict[str, Any], *, goes: bool
) -> None:
    api, caches = Api(there), Caches()
    caches.pods.observe("ADDED", pod)
    if cached is not None:
        caches.sessions.observe("ADDED", cached)
    client = cast(ApiClient, api)
    views = Views(Seals(KEYRING.jwks))
    await ClaimedController(client, caches, views, Premises(client, caches, LISTED)).reconcile(POD)
    assert api.deleted == ([(POD, "a")] if goes else [])


@pytest.mark.parametrize(
    ("there", "applied"),
    [
        ([], ["NetworkPolicy", "ServiceAccount"]),
        (["account"], ["NetworkPolicy", "ServiceAccount"]),
        (["policy"], ["ServiceAccount"]),
        (["wrong policy", "account"], ["NetworkPolicy", "ServiceAccount"]),
    ],
)
async def test_what_a_namespace_has_before_its_first_runner(there: list[str], applied: list[str]) -> None:
    api, caches = Api(None), Caches()
    for item in there:
        match item:
            case "policy":
                caches.policies.observe("ADDED", network_policy("n", LISTED))
            case "wrong policy":
                caches.policies.observe("ADDED", {**network_policy("n", LISTED), "spec": {"podSelector": {}}})
            case _:
                caches.accounts.observe("ADDED", service_account("n"))
    premises = Premises(cast(ApiClient, api), caches, LISTED)
    assert await premises.hold("n")
    assert api.applied == applied
    assert not await premises.hold("n")
    assert api.applied == applied


@pytest.mark.parametrize(("claiming", "last"), [([POD], NOW), ([("n", "p-b")], None), ([], None)])
def test_a_claim_that_is_on_its_way_is_the_last_one(claiming: list[Key], last: datetime | None) -> None:
    """Its pod does not show it yet."""
    caches, views = Caches(), Views(Seals(KEYRING.jwks))
    free = {"namespace": "n", "name": "p-a", "uid": "a", "resourceVersion": "1", "labels": {POOL_LABEL: "pool-1"}}
    caches.pods.observe("ADDED", {"metadata": free})
    observer = Observer(caches, LISTED, SURROUNDINGS, views, {}, lambda: claiming)
    assert observer.observe(pool(), None, NOW, refilling=False).last_claim == last


def test_only_those_whom_it_admits_make_a_pool_larger() -> None:
    caches = Caches()
    caches.policies.observe("ADDED", network_policy("n", LISTED))
    for name, labels in (("n", {}), ("ours", {"team": "a"}), ("theirs", {})):
        caches.namespaces.observe("ADDED", {"metadata": {"name": name, "uid": f"{name}-1", "labels": labels}})
    shared = pool(allowedNamespaces={"selector": {"matchLabels": {"team": "a"}}}, scaling={"mode": "Auto"})

    def demand() -> int:
        views = Views(Seals(KEYRING.jwks))
        seen = Observer(caches, LISTED, SURROUNDINGS, views, {}, tuple).observe(shared, None, NOW, refilling=False)
        assert seen.unresolved is None
        return seen.demand

    def came(namespace: str) -> None:
        for number in range(50):
            metadata = {"name": f"s{number}", "namespace": namespace, "uid": f"{namespace}-{number}"}
            caches.sessions.observe(
                "ADDED",
                {
                    "metadata": {**metadata, "creationTimestamp": f"{NOW:%FT%TZ}"},
                    "spec": {"poolRef": {"name": "p", "namespace": "n"}},
                },
            )

    came("theirs")
    assert demand() == 0
    came("ours")
    assert demand() > 5
