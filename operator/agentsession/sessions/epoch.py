"""The epoch of a leader's grants: above that of every grant there is, also if somebody deleted the Lease that counts.

Of two pods with one session the egress plane serves the one whose grant has the higher epoch.
"""

from collections.abc import Iterable

from agentsession.keys.grant import verify_grant
from agentsession.keys.keyring import InvalidTokenError, Jwks
from agentsession.kube.objects import KubeObject, annotations_of
from agentsession.resources.names import GRANT_ANNOTATION


def next_epoch(transitions: int, pods: Iterable[KubeObject], jwks: Jwks) -> int:
    """`leaseTransitions` of this leader's term, or more. What the operator's keys did not sign does not count."""
    return max([transitions, *(1 + epoch for pod in pods if (epoch := _granted(pod, jwks)) is not None)])


def _granted(pod: KubeObject, jwks: Jwks) -> int | None:
    try:
        return verify_grant(annotations_of(pod).get(GRANT_ANNOTATION, ""), jwks).epoch
    except InvalidTokenError:
        return None
