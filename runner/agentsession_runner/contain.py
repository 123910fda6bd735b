"""The init container: no agent starts in a pod that can reach what it must not.

A new pod may run before its NetworkPolicy is enforced (measured: 30 to 50 ms), and on some clusters no policy ever is.
So the pod itself tries what is forbidden, and waits until that fails.
"""

import asyncio
import logging
from collections.abc import Sequence

import aiohttp

from .errors import UnfitError
from .folders import check_sealed, make_folders
from .identity import obtain, write_token
from .layout import Layout
from .protocol import EXIT_NO_IDENTITY, EXIT_NOT_CONTAINED
from .settings import Settings, Target

PATIENCE = 30.0
"""Seconds for containment, and again for the identity."""
PAUSE = 0.1
"""Seconds between two rounds: each session waits for one."""
CONNECT_TIMEOUT = 0.75
"""Seconds. Long beside a cluster's round trips, short because a dropping policy costs it in every round."""
ROUNDS = 2
"""Rounds in a row in which everything must be as it should: one lost packet is not containment."""

log = logging.getLogger(__name__)


async def contain(settings: Settings, layout: Layout, patience: float = PATIENCE) -> None:
    """Check the image, make the folders, wait for containment, get the identity. Raises UnfitError."""
    check_sealed(layout.sealed)
    make_folders(layout.folders)
    credential = _service_account_token(layout)
    async with aiohttp.ClientSession() as http:
        await wait_until_contained(http, settings.egress_url, settings.forbidden, patience)
        issued = await obtain(http, settings.egress_url, credential, patience)
    write_token(layout.identity_token, issued.token)
    log.info("contained; identity valid until %s", issued.expires_at.isoformat())


def _service_account_token(layout: Layout) -> str:
    try:
        return layout.service_account_token.read_text().strip()
    except OSError as error:
        raise UnfitError(EXIT_NO_IDENTITY, f"no service account token: {error}") from error


async def wait_until_contained(
    http: aiohttp.ClientSession, egress_url: str, forbidden: Sequence[Target], patience: float
) -> None:
    """Return once the egress plane answers and nothing of `forbidden` does; UnfitError after `patience` s."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    good = 0
    while True:
        healthy, *open_ = await asyncio.gather(answers(http, egress_url), *(reaches(target) for target in forbidden))
        reached = [str(target) for target, is_open in zip(forbidden, open_, strict=True) if is_open]
        good = good + 1 if healthy and not reached else 0
        if good == ROUNDS:
            return
        if loop.time() > deadline and reached:
            raise UnfitError(
                EXIT_NOT_CONTAINED,
                f"not contained after {patience:.0f} s: still reaches {', '.join(reached)}; "
                "the cluster's network plugin must enforce NetworkPolicy on egress",
            )
        if loop.time() > deadline and not healthy:
            raise UnfitError(
                EXIT_NO_IDENTITY, f"the egress plane does not answer at {egress_url}/healthz after {patience:.0f} s"
            )
        await asyncio.sleep(PAUSE)


async def reaches(target: Target) -> bool:
    """Whether a TCP connection opens. A refusal is as good as silence: policies are enforced by either."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except OSError:
        return False
    writer.close()
    return True


async def answers(http: aiohttp.ClientSession, egress_url: str) -> bool:
    """Whether the egress plane says that it is healthy."""
    timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT)
    try:
        async with http.get(f"{egress_url}/healthz", timeout=timeout, allow_redirects=False) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
