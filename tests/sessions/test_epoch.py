"""The epoch never goes back, whatever becomes of the Lease."""

from datetime import UTC, datetime

import pytest

from agentsession.keys.grant import Grant
from agentsession.keys.keyring import Keyring
from agentsession.kube.objects import KubeObject
from agentsession.resources.names import GRANT_ANNOTATION
from agentsession.sessions.epoch import next_epoch

pytestmark = pytest.mark.unit

KEYRING, STRANGER = (Keyring.generate(datetime.now(UTC)) for _ in range(2))


def granted(epoch: int, keyring: Keyring = KEYRING) -> KubeObject:
    names = dict.fromkeys(("pod_uid", "session_uid", "session_name", "namespace", "tenant", "tenant_uid"), "x")
    return {"metadata": {"annotations": {GRANT_ANNOTATION: Grant(**names, epoch=epoch).sign(keyring)}}}


@pytest.mark.parametrize(
    ("transitions", "pods", "epoch"),
    [
        (3, [], 3),
        (3, [granted(1), granted(2)], 3),
        (1, [granted(7), granted(2)], 8),
        (1, [granted(7, STRANGER), {"metadata": {}}, {"metadata": {"annotations": {GRANT_ANNOTATION: "x"}}}], 1),
    ],
)
def test_it_is_above_every_grant_that_the_operator_signed(transitions: int, pods: list[KubeObject], epoch: int) -> None:
    assert next_epoch(transitions, pods, KEYRING.jwks()) == epoch
