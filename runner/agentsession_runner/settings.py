"""What the pod's environment tells the runner; both containers refuse to start with any of it missing or wrong."""

import ipaddress
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import ValidationError

from .errors import UnfitError
from .protocol import (
    ENV_EGRESS_URL,
    ENV_FORBIDDEN,
    ENV_HOST_IP,
    ENV_OPTIONS,
    ENV_POD_UID,
    ENV_RESUME,
    ENV_SESSION_ID,
    EXIT_BAD_ENVIRONMENT,
    AgentOptions,
)

KUBELET_PORT = 10250


@dataclass(frozen=True)
class Target:
    """An address and port that a contained pod must not reach. Never a name: without DNS it would prove nothing."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """The environment, checked."""

    options: AgentOptions
    pod_uid: str
    egress_url: str
    forbidden: tuple[Target, ...]
    resume: str | None = None
    session_id: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the ENV_* variables. Raises UnfitError naming the one that is wrong."""
        return cls(
            options=_options(_required(environ, ENV_OPTIONS)),
            pod_uid=_required(environ, ENV_POD_UID),
            egress_url=_url(_required(environ, ENV_EGRESS_URL)),
            forbidden=(
                *(_target(item) for item in _required(environ, ENV_FORBIDDEN).split(",")),
                Target(_address(_required(environ, ENV_HOST_IP), ENV_HOST_IP), KUBELET_PORT),
            ),
            resume=_conversation(environ, ENV_RESUME),
            session_id=_conversation(environ, ENV_SESSION_ID),
        )


def _wrong(name: str, what: str) -> UnfitError:
    return UnfitError(EXIT_BAD_ENVIRONMENT, f"environment variable {name} {what}; the operator sets it on runner pods")


def _required(environ: Mapping[str, str], name: str) -> str:
    if not (value := environ.get(name, "")):
        raise _wrong(name, "is not set")
    return value


def _conversation(environ: Mapping[str, str], name: str) -> str | None:
    """The id of a conversation, which becomes an argument of the CLI: only a UUID can be one."""
    if not (value := environ.get(name, "")):
        return None
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise _wrong(name, "is not a UUID") from None


def _options(text: str) -> AgentOptions:
    try:
        return AgentOptions.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "JSON"
        raise _wrong(ENV_OPTIONS, f"is not an agent's options: {where}: {first['msg']}") from None


def _url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise _wrong(ENV_EGRESS_URL, "is not scheme://host:port")
    return text.rstrip("/")


def _target(text: str) -> Target:
    host, _, port = text.strip().rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise _wrong(ENV_FORBIDDEN, f"has an item without a port: {text!r}")
    return Target(_address(host.strip("[]"), ENV_FORBIDDEN), int(port))


def _address(text: str, name: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise _wrong(name, f"has {text!r} where an IP address must be (a runner has no DNS)") from None
