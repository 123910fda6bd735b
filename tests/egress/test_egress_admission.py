"""Who is let in: every way to be refused beside the one way in."""

from dataclasses import dataclass, field

import pytest

from agentsession.egress.admission import Served, Unseen, admit
from agentsession.egress.directory import Directory, RunnerPod, normal_address
from agentsession.egress.refusal import Refusal
from agentsession.keys.grant import Grant
from agentsession.kube.resource import AGENTSESSIONS, AGENTTENANTS, PODS, Resource

from . import build

pytestmark = pytest.mark.unit
DELETED = "2026-01-01T00:00:00Z"


@dataclass
class Case:
    """A world, and what it says to pod a at its address."""

    world: Directory = field(default_factory=build.directory)
    says: str = ""
    peer: str = build.ADDRESS


def abroad(granted: str | None, *consented: str) -> Directory:
    """Pod a is in namespace pools, and session a is not. granted: where its grant says that it is."""
    token = build.grant(pod_namespace=granted).sign(build.OPERATOR)
    pod = build.pod(namespace="pools", annotation=token)
    return build.directory(pods=(pod,), tenants=(build.tenant(pools=consented),))


REFUSED = {
    "identity used from another address": Case(says="another address", peer="127.0.0.2"),
    "pod is being deleted": Case(
        build.directory(pods=(build.pod(deletionTimestamp=DELETED),)), "the pod of this identity is ending"
    ),
    "pod has failed": Case(build.directory(pods=(build.pod(phase="Failed"),)), "the pod of this identity is ending"),
    "pod has succeeded": Case(build.directory(pods=(build.pod(phase="Succeeded"),)), "is ending"),
    "grant copied from another pod": Case(
        build.directory(pods=(build.pod(annotation=build.grant("b").sign(build.OPERATOR)),)), "made for another pod"
    ),
    "grant of a pod beside its session, in another namespace": Case(abroad(None, "pools"), "made for another pod"),
    "grant of a pod in another namespace, beside its session": Case(
        build.directory(
            pods=(build.pod(annotation=build.grant(pod_namespace="pools").sign(build.OPERATOR)),),
            tenants=(build.tenant(pools=("pools",)),),
        ),
        "made for another pod",
    ),
    "grant copied from a pod of another namespace": Case(
        build.directory(
            pods=(
                build.pod(namespace="pools", annotation=build.grant("b", pod_namespace="pools").sign(build.OPERATOR)),
            ),
            tenants=(build.tenant(pools=("pools",)),),
        ),
        "made for another pod",
    ),
    "the tenant does not consent to any pool": Case(abroad("pools"), "does not consent to shared pools of pools"),
    "the tenant consents to other pools": Case(abroad("pools", "team", "p"), "does not consent"),
    "grant signed by somebody else": Case(
        build.directory(pods=(build.pod(annotation=build.grant().sign(build.STRANGER)),)), "unknown key"
    ),
    "grant signed by the egress plane": Case(
        build.directory(pods=(build.pod(annotation=build.grant().sign(build.EGRESS)),)), "unknown key"
    ),
    "grant that is no token": Case(build.directory(pods=(build.pod(annotation="session-a"),)), "not the operator's"),
    "another token of the operator as grant": Case(
        build.directory(pods=(build.pod(annotation=build.OPERATOR.sign({"aud": "agentsession/usage"})),)), "udience"
    ),
    "session is being deleted": Case(
        build.directory(sessions=(build.session(deletionTimestamp=DELETED),)), "AgentSession team/a has ended"
    ),
    "session has finished": Case(
        build.directory(sessions=(build.session(status=build.finished()),)), "AgentSession team/a has ended"
    ),
    "another pod has the session since": Case(
        build.directory(
            pods=(
                build.pod(),
                build.pod("b", annotation=build.grant("b", session_uid="session-a", epoch=2).sign(build.OPERATOR)),
            )
        ),
        "served by a newer pod",
    ),
}

UNSEEN = {
    "no such pod": (build.directory(pods=()), PODS, "does not exist"),
    "pod has another address": (build.directory(pods=(build.pod(addresses=("127.0.0.9",)),)), PODS, "another address"),
    "pod has no address yet": (build.directory(pods=(build.pod(addresses=()),)), PODS, "another address"),
    "pod of the same name, made anew": (build.directory(pods=(build.pod(uid="pod-new"),)), PODS, "does not exist"),
    "pod without a grant": (build.directory(pods=(build.pod(annotation=None),)), PODS, "serves no session"),
    "no such session": (build.directory(sessions=()), AGENTSESSIONS, "does not exist any more"),
    "session of the same name, made anew": (
        build.directory(sessions=(build.session(uid="session-new"),)),
        AGENTSESSIONS,
        "does not exist any more",
    ),
    "no such tenant": (build.directory(tenants=()), AGENTTENANTS, "does not exist any more"),
    "tenant of the same name, made anew": (
        build.directory(tenants=(build.tenant(uid="tenant-new"),)),
        AGENTTENANTS,
        "does not exist any more",
    ),
}

SERVED = {
    "the usual": build.directory(),
    "a shared pool's": abroad("pools", "others", "pools"),
    "Finished is False": build.directory(sessions=(build.session(status=build.finished("False")),)),
    "a second address of the pod": build.directory(pods=(build.pod(addresses=("fd00::7", build.ADDRESS)),)),
    "an older pod still has the session": build.directory(
        pods=(
            build.pod(annotation=build.grant(epoch=3).sign(build.OPERATOR)),
            build.pod("b", annotation=build.grant("b", session_uid="session-a", epoch=2).sign(build.OPERATOR)),
        )
    ),
    "a forged higher epoch": build.directory(
        pods=(
            build.pod(),
            build.pod("b", annotation=build.grant("b", session_uid="session-a", epoch=9).sign(build.STRANGER)),
        )
    ),
    "a higher epoch that was copied": build.directory(
        pods=(
            build.pod(),
            build.pod("b", annotation=build.grant("c", session_uid="session-a", epoch=9).sign(build.OPERATOR)),
        )
    ),
}


@pytest.mark.trap("two-writers")
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refused(case: Case) -> None:
    decision = admit(case.world, build.identity(), case.peer)
    assert isinstance(decision, Refusal)
    assert decision.status == 403
    assert case.says in decision.message


@pytest.mark.parametrize(("world", "resource", "says"), UNSEEN.values(), ids=UNSEEN.keys())
def test_unseen_is_looked_for_by_the_name_that_a_signature_vouches_for(
    world: Directory, resource: Resource, says: str
) -> None:
    decision = admit(world, build.identity(), build.ADDRESS)
    assert isinstance(decision, Unseen)
    assert (decision.resource, decision.key) == (resource, ("team", "default" if resource == AGENTTENANTS else "a"))
    assert says in decision.refusal.message


@pytest.mark.parametrize("world", SERVED.values(), ids=SERVED.keys())
def test_served(world: Directory) -> None:
    decision = admit(world, build.identity(), build.ADDRESS)
    assert isinstance(decision, Served)
    assert (decision.pod.metadata.name, decision.session.metadata.name) == ("a", "a")


def test_keys_that_change_are_believed_at_once() -> None:
    world = build.directory()
    assert isinstance(admit(world, build.identity(), build.ADDRESS), Served)
    world.trust(build.STRANGER.jwks())
    assert isinstance(admit(world, build.identity(), build.ADDRESS), Refusal)
    world.trust(build.OPERATOR.jwks())
    assert isinstance(admit(world, build.identity(), build.ADDRESS), Served)


@pytest.mark.parametrize(
    ("spelled", "normal"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("FE80::1%eth0", "fe80::1"),
        ("fd00:0:0::7", "fd00::7"),
    ],
)
def test_an_address_has_one_spelling(spelled: str, normal: str) -> None:
    assert normal_address(spelled) == normal


def test_the_pods_of_other_sessions_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision is made for every request and after every change: it must not get slower with each pod."""
    others = [
        build.pod(f"p{number}", annotation=build.grant(f"p{number}").sign(build.OPERATOR)) for number in range(50)
    ]
    world = build.directory(pods=(build.pod(), *others))
    looked: list[str] = []
    grant_of = world.grant

    def counted(pod: RunnerPod) -> Grant | None:
        looked.append(pod.metadata.name)
        return grant_of(pod)

    monkeypatch.setattr(world, "grant", counted)
    assert isinstance(admit(world, build.identity(), build.ADDRESS), Served)
    assert set(looked) == {"a"}
