"""The one write that gives a warm runner to a session."""

from datetime import timedelta
from typing import Literal, TypedDict

from agentsession.api.session import AgentSession

from .names import GRANT_ANNOTATION, SESSION_LABEL, SESSION_NAMESPACE_LABEL, TENANT_LABEL
from .pod import owner_reference


class Operation(TypedDict):
    """One of RFC 6902."""

    op: Literal["add", "replace", "test"]
    path: str
    value: object


def claim_patch(
    namespace: str, pool_uid: str, pod_uid: str, session: AgentSession, grant: str, deadline: timedelta
) -> list[Operation]:
    """All or nothing, and only while the pod is that one and still belongs to its pool: who is second fails the test.

    namespace: the pod's. An owner in another one would have it collected at once, so then it has none.
    deadline: from the pod's start on; a pod's deadline can be shortened, never extended.
    """
    abroad = namespace != session.metadata.namespace
    owners = [] if abroad else [owner_reference(session, "AgentSession")]
    home: list[Operation] = [
        {"op": "add", "path": _key("labels", SESSION_NAMESPACE_LABEL), "value": session.metadata.namespace}
    ]
    return [
        {"op": "test", "path": "/metadata/uid", "value": pod_uid},
        {"op": "test", "path": "/metadata/ownerReferences/0/uid", "value": pool_uid},
        {"op": "replace", "path": "/metadata/ownerReferences", "value": owners},
        {"op": "add", "path": _key("labels", SESSION_LABEL), "value": session.metadata.uid},
        {"op": "add", "path": _key("labels", TENANT_LABEL), "value": session.spec.tenant_ref.name},
        *(home if abroad else []),
        {"op": "add", "path": _key("annotations", GRANT_ANNOTATION), "value": grant},
        {"op": "replace", "path": "/spec/activeDeadlineSeconds", "value": int(deadline.total_seconds())},
    ]


def _key(of: str, name: str) -> str:
    return f"/metadata/{of}/{name.replace('~', '~0').replace('/', '~1')}"
