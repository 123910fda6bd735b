"""The objects of a simulated API server, and what it does to them: versions, preconditions, patches, deletion, garbage.

As far as the control side leans on it, and no further: there is no authorization, and what admits a spec is the API's
own models.
"""

import json
import random
import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from agentsession.api.base import KubeModel, spec_errors, to_json
from agentsession.api.pool import AgentPool
from agentsession.api.session import AgentSession
from agentsession.api.tenant import AgentTenant
from agentsession.kube.objects import Key, KubeObject, is_terminating, labels_of, owner_uid, uid_of

MODELS: Mapping[str, type[KubeModel]] = {
    "agentsessions": AgentSession,
    "agentpools": AgentPool,
    "agenttenants": AgentTenant,
}
"""Kinds of ours: their status is written by its own path only, and a change of their spec is a new generation."""
PHASES = {"pods": "Pending", "persistentvolumeclaims": "Pending", "namespaces": "Active"}
GRACE = 30


class StatusError(Exception):
    """A metav1.Status that is an error."""

    def __init__(self, code: int, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        details = {"details": {"causes": [{"field": field}]}} if field else {}
        self.body = {"kind": "Status", "code": code, "reason": reason, "message": message, **details}
        self.code = code


@dataclass(frozen=True)
class Event:
    """One change. `before` is how the object was, for watches with a selector."""

    version: int
    type: str
    object: KubeObject
    before: KubeObject | None


class Objects:
    """By plural and key. What is stored is never changed in place, so it may be handed out.

    `committed` is called with each change in the very moment of it.
    """

    def __init__(self, now: Callable[[], datetime], committed: Callable[[str, Event], None]) -> None:
        self._now = now
        self._committed = committed
        self._version = 1000
        self._kinds: dict[str, dict[Key, KubeObject]] = {}
        self._events: dict[str, list[Event]] = {}
        self._forgotten = 0
        self._random = random.Random(1)  # noqa: S311

    @property
    def version(self) -> int:
        """Of the last change."""
        return self._version

    def all(self, plural: str, namespace: str = "") -> list[KubeObject]:
        """The objects of a kind, of one namespace if it is given."""
        return [obj for key, obj in self._kinds.get(plural, {}).items() if namespace in ("", key[0])]

    def get(self, plural: str, key: Key) -> KubeObject:
        """Raises StatusError 404."""
        try:
            return self._kinds[plural][key]
        except KeyError:
            raise StatusError(404, "NotFound", f'{plural} "{key[1]}" not found') from None

    def since(self, plural: str, version: int) -> list[Event]:
        """The changes after that version. Raises StatusError 410 if they are not remembered."""
        if version < self._forgotten:
            raise StatusError(410, "Expired", f"too old resource version: {version} ({self._forgotten})")
        events = self._events.get(plural, [])
        return events[bisect_right(events, version, key=lambda event: event.version) :]

    def compact(self) -> None:
        """Forget all changes so far: whoever has not followed them must list again."""
        self._forgotten = self._version
        self._events.clear()

    def create(self, plural: str, namespace: str, body: KubeObject) -> KubeObject:
        """Raises StatusError 404, 409, 422."""
        key = namespace, body["metadata"]["name"]
        if namespace:
            self.get("namespaces", ("", namespace))
        if key in self._kinds.get(plural, {}):
            raise StatusError(409, "AlreadyExists", f'{plural} "{key[1]}" already exists')
        metadata = {
            **body["metadata"],
            **({"namespace": namespace} if namespace else {}),
            "uid": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "creationTimestamp": _time(self._now()),
            "generation": 1,
        }
        made = {name: value for name, value in body.items() if name != "status"} | {"metadata": metadata}
        if plural in PHASES:
            made["status"] = {"phase": PHASES[plural]}
        return self._commit(plural, key, "ADDED", _admitted(plural, made), None)

    def change(self, plural: str, key: Key, made: Callable[[KubeObject], KubeObject], *, status: bool) -> KubeObject:
        """Put what `made` makes of it in its place. Its metadata may name uid and resourceVersion as preconditions.

        Raises StatusError 404, 409, 422.
        """
        old = self.get(plural, key)
        new = dict(made(old))
        own, said = old["metadata"], new["metadata"]
        if said.get("resourceVersion", own["resourceVersion"]) != own["resourceVersion"]:
            raise StatusError(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        unread = status and plural in MODELS  # a custom resource's status is written whatever uid goes with it
        if said.get("uid", own["uid"]) != own["uid"] and not unread:
            raise StatusError(422, "Invalid", f"uid {said['uid']}: it is {own['uid']}", "metadata.uid")
        if status:
            new = {**old, "status": new.get("status", {})}
        elif plural in MODELS or plural in PHASES:
            new = {name: value for name, value in new.items() if name != "status"}
            new |= {"status": old["status"]} if "status" in old else {}
            new["metadata"] = {**said, "generation": own["generation"]}
            new = dict(_admitted(plural, new))
        if plural == "pods":
            _may_become(old, new)
        if new == old:
            return old
        if new.get("spec") != old.get("spec"):
            new["metadata"] = {**new["metadata"], "generation": own["generation"] + 1}
        return self._commit(plural, key, "MODIFIED", new, old)

    def delete(self, plural: str, key: Key, options: Mapping[str, Any]) -> KubeObject:
        """The object as it was last, or is now. Raises StatusError 404, 409. A pod on a node stays until its grace is
        over and somebody removes it."""
        old = self.get(plural, key)
        for name, value in options.get("preconditions", {}).items():
            if old["metadata"][name] != value:
                raise StatusError(409, "Conflict", f"Precondition failed: {name} in precondition: {value}")
        grace = self._grace(old, options) if plural == "pods" else 0
        gone = {"deletionTimestamp": _time(self._now() + timedelta(seconds=grace))}
        going = {**old, "metadata": {**old["metadata"], **gone, "deletionGracePeriodSeconds": grace}}
        if grace == 0:
            del self._kinds[plural][key]
            return self._commit(plural, key, "DELETED", going, old)
        if not is_terminating(old) or grace < old["metadata"]["deletionGracePeriodSeconds"]:
            return self._commit(plural, key, "MODIFIED", going, old)
        return old

    def bind(self, key: Key, uid: str, node: str) -> None:
        """Give a pod its node. Raises StatusError 404, 409."""
        pod = self.get("pods", key)
        if uid_of(pod) != uid or is_terminating(pod) or pod["spec"].get("nodeName") or gated(pod):
            raise StatusError(409, "Conflict", "the pod cannot be assigned to a node")
        self._commit("pods", key, "MODIFIED", {**pod, "spec": {**pod["spec"], "nodeName": node}}, pod)

    def collect_garbage(self) -> None:
        """Ask for the deletion of what has outlived its owner."""
        owners = {uid_of(obj) for plural in MODELS for obj in self.all(plural)}
        for plural in list(self._kinds):
            for key, obj in list(self._kinds[plural].items()):
                if owner_uid(obj) and owner_uid(obj) not in owners and not is_terminating(obj):
                    self.delete(plural, key, {})

    @staticmethod
    def _grace(pod: KubeObject, options: Mapping[str, Any]) -> int:
        if not pod["spec"].get("nodeName") or pod["status"].get("phase") in ("Failed", "Succeeded"):
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(asked if asked is not None else pod["spec"].get("terminationGracePeriodSeconds", GRACE))

    def _commit(self, plural: str, key: Key, type_: str, obj: KubeObject, before: KubeObject | None) -> KubeObject:
        self._version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        if type_ != "DELETED":
            self._kinds.setdefault(plural, {})[key] = obj
        event = Event(self._version, type_, obj, before)
        self._events.setdefault(plural, []).append(event)
        self._committed(plural, event)
        return obj


def gated(pod: KubeObject) -> bool:
    """Whether no scheduler may give it a node yet."""
    return bool(pod["spec"].get("schedulingGates"))


def matching(selector: str) -> Callable[[KubeObject], bool]:
    """Whether an object has the one label that a selector `name=value` asks for; an empty one asks for nothing."""
    name, _, value = selector.partition("=")
    return lambda obj: not name or labels_of(obj).get(name) == value


def seen(event: Event, selector: str, namespace: str) -> bytes:
    """The line that a watch sends for a change; none if it does not concern what is watched."""
    if namespace not in ("", event.object["metadata"].get("namespace")):
        return b""
    match = matching(selector)
    now, before = match(event.object), event.before is not None and match(event.before)
    if not (now or before):
        return b""
    type_ = event.type if event.type == "DELETED" or now == before else "ADDED" if now else "DELETED"
    return json.dumps({"type": type_, "object": event.object}).encode() + b"\n"


def _admitted(plural: str, obj: dict[str, Any]) -> KubeObject:
    """With its defaults. Raises StatusError 422."""
    if (model := MODELS.get(plural)) is None:
        return obj
    try:
        spec = to_json(model.model_validate(obj))["spec"]
    except ValidationError as error:
        raise StatusError(422, "Invalid", spec_errors(error)) from None
    return {**obj, "spec": spec}


def _may_become(old: KubeObject, new: KubeObject) -> None:
    """The control side changes two fields of a pod's spec: gates may only go, and the deadline only become shorter.

    Raises StatusError 422.
    """
    if not all(gate in old["spec"].get("schedulingGates", ()) for gate in new["spec"].get("schedulingGates", ())):
        raise StatusError(422, "Invalid", "spec.schedulingGates: only deletion is allowed")
    field = "activeDeadlineSeconds"
    before, after = old["spec"].get(field), new["spec"].get(field)
    if before == after:
        return
    if after is None or after < 1 or (before is not None and after > before):
        raise StatusError(422, "Invalid", f"spec.{field}: {after}: must be 1 or more, and no more than {before}")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
