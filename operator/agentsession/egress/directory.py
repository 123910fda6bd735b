"""What the watches say: which pods exist, where, with which grant; which sessions and tenants there are.

Only the API server fills it. Decisions read it and never wait.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from pydantic import Field, ValidationError

from agentsession.api.base import KubeModel, StatusModel
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.keys.grant import Grant, claimed_session, verify_grant
from agentsession.keys.keyring import InvalidTokenError, Jwks
from agentsession.kube.cache import Store
from agentsession.kube.objects import Key, KubeObject, annotations_of, uid_of
from agentsession.resources.names import GRANT_ANNOTATION

log = logging.getLogger(__name__)


class _PodIP(StatusModel):
    ip: str


class _PodStatus(StatusModel):
    phase: str = ""
    pod_ips: list[_PodIP] = Field(default=[], alias="podIPs")


class RunnerPod(KubeModel):
    """The part of a runner pod that decisions need."""

    status: _PodStatus = _PodStatus()

    @property
    def addresses(self) -> list[str]:
        """Its addresses, none before its sandbox exists."""
        return [normal_address(entry.ip) for entry in self.status.pod_ips]

    @property
    def ending(self) -> bool:
        """Whether it is being deleted, or its containers have ended: its address may soon be another pod's."""
        return self.metadata.deletion_timestamp is not None or self.status.phase in ("Succeeded", "Failed")


def normal_address(text: str) -> str:
    """One spelling for each address: no zone, IPv4 as IPv4 also where a dual-stack socket says ::ffff:10.0.0.1."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)


M = TypeVar("M", bound=KubeModel)


class View(Generic[M]):
    """The objects of a store as models, each state parsed once. What cannot be parsed is absent, and logged."""

    def __init__(self, model: type[M], index: Callable[[KubeObject], Iterable[str]] = lambda _: ()) -> None:
        self.store = Store(index=index)
        self._model = model
        self._parsed: dict[str, tuple[KubeObject, M | None]] = {}

    def by_uid(self, uid: str) -> M | None:
        """The object of that uid."""
        return self._parse(self.store.by_uid(uid))

    def by_key(self, key: Key) -> M | None:
        """The object of that (namespace, name)."""
        return self._parse(self.store.get(key))

    def indexed(self, value: str) -> list[M]:
        """The objects that are indexed by that value."""
        return [found for obj in self.store.indexed(value) if (found := self._parse(obj))]

    def all(self) -> list[M]:
        """Every object."""
        return [found for obj in self.store if (found := self._parse(obj))]

    def _parse(self, obj: KubeObject | None) -> M | None:
        if obj is None:
            return None
        uid = uid_of(obj)
        known, model = self._parsed.get(uid, (None, None))
        if known is obj:
            return model
        try:
            model = self._model.model_validate(obj)
        except ValidationError as error:
            log.warning("%s %s cannot be read and is treated as absent: %s", self._model.__name__, uid, error)
            model = None
        if len(self._parsed) > 2 * len(self.store) + 100:
            self._parsed.clear()
        self._parsed[uid] = (obj, model)
        return model


@dataclass
class Directory:
    """Pods, sessions and tenants, and the operator's public keys, which tell a grant from a forgery."""

    pods: View[RunnerPod] = field(default_factory=lambda: View(RunnerPod, _claimed_session))
    sessions: View[AgentSession] = field(default_factory=lambda: View(AgentSession))
    tenants: View[AgentTenant] = field(default_factory=lambda: View(AgentTenant))
    _operator_keys: Jwks | None = None
    _grants: dict[str, Grant | InvalidTokenError] = field(default_factory=dict)

    @property
    def operator_keys(self) -> Jwks | None:
        """Public keys of the operator; None until they were read."""
        return self._operator_keys

    def trust(self, keys: Jwks) -> None:
        """Believe grants that one of `keys` signed, and no others."""
        if keys != self._operator_keys:
            self._operator_keys = keys
            self._grants.clear()

    def grant(self, pod: RunnerPod) -> Grant | None:
        """The grant that this pod holds, None if it has none. Raises InvalidTokenError if it is forged or copied."""
        token = pod.metadata.annotations.get(GRANT_ANNOTATION)
        if token is None:
            return None
        grant = self._verified(token)
        if isinstance(grant, InvalidTokenError):
            raise grant
        if grant.pod_uid != pod.metadata.uid or grant.place != pod.metadata.namespace:
            raise InvalidTokenError("made for another pod")
        return grant

    def highest_epoch(self, grant: Grant) -> int:
        """The highest epoch in which a pod was granted the same session."""
        epochs = [grant.epoch]
        for pod in self.pods.indexed(grant.session_uid):
            try:
                other = self.grant(pod)
            except InvalidTokenError:
                continue
            if other is not None and other.session_uid == grant.session_uid:
                epochs.append(other.epoch)
        return max(epochs)

    def _verified(self, token: str) -> Grant | InvalidTokenError:
        """A signature is checked once; the answer holds until the keys change."""
        if token not in self._grants:
            if len(self._grants) > 2 * len(self.pods.store) + 100:
                self._grants.clear()
            try:
                self._grants[token] = verify_grant(token, self._operator_keys or {"keys": []})
            except InvalidTokenError as error:
                self._grants[token] = error
        return self._grants[token]


def _claimed_session(pod: KubeObject) -> Iterator[str]:
    """Pods are found by what their grants claim; what is found is verified."""
    if claimed := claimed_session(annotations_of(pod).get(GRANT_ANNOTATION, "")):
        yield claimed
