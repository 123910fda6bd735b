"""kopf uses the session that the rest of the process uses: one pool of sockets, one way to authenticate."""

import aiohttp
import kopf

from agentsession.kube.connection import Connection


def kopf_credentials(connection: Connection, session: aiohttp.ClientSession) -> kopf.AiohttpSession:
    """What a `kopf.on.login` handler returns. kopf closes `session` when its operator ends."""
    return kopf.AiohttpSession(server=connection.server, aiohttp_session=session)
