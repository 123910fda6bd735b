"""What a namespace's own rules refuse, such as a quota: what to say of it, and how soon to try again."""

import re
from datetime import datetime, timedelta

from agentsession.kube.errors import ApiError

LEAST, MOST = timedelta(seconds=5), timedelta(seconds=30)
"""No watch tells when a quota has room again: quotas change with every pod of a namespace, and are not watched."""

_QUOTA = re.compile(r"(?:exceeded|failed) quota: ([a-z0-9.-]+)")
"""From staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go."""


def explained(error: ApiError) -> str:
    """What the API server said, and what to do if it was a quota."""
    quota = _QUOTA.search(error.message)
    if quota is None:
        return error.message
    return f"{error.message}: raise ResourceQuota {quota[1]} or free some of it; tried again every {MOST.seconds} s"


def next_try(since: datetime | None, now: datetime) -> timedelta:
    """How soon to try again what has been refused since then: soon at first, for who is just putting it right."""
    return min(max(now - since, LEAST), MOST) if since is not None else LEAST
