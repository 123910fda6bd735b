"""Call tokens: short-lived proof that a call to a runner or to the egress plane's control port is the operator's."""

from datetime import datetime, timedelta

from agentsession_runner.protocol import CALL_AUDIENCE, Action

from .keyring import Keyring

LIFETIME = timedelta(seconds=60)
USAGE_AUDIENCE = "agentsession/usage"


def runner_call(keyring: Keyring, now: datetime, *, pod_uid: str, session_uid: str, action: Action) -> str:
    """A token for one action of one session at one pod, for LIFETIME."""
    return keyring.sign(
        {
            "aud": CALL_AUDIENCE,
            "exp": int((now + LIFETIME).timestamp()),
            "pod_uid": pod_uid,
            "slot": 0,
            "session_uid": session_uid,
            "action": action,
        }
    )


def usage_call(keyring: Keyring, now: datetime) -> str:
    """A token for pulling usage from an egress process, for LIFETIME."""
    return keyring.sign({"aud": USAGE_AUDIENCE, "exp": int((now + LIFETIME).timestamp())})
