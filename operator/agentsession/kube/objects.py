"""The few facts about objects that caches, queues and watches need; the rest of an object is opaque here."""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""

KubeObject = Mapping[str, Any]
"""An object as the API server sent it. Shared between cache, queue and controllers, therefore read-only."""


class OwnerReference(TypedDict, total=False):
    """metav1.OwnerReference."""

    apiVersion: str
    kind: str
    name: str
    uid: str
    controller: bool
    blockOwnerDeletion: bool


class Metadata(TypedDict, total=False):
    """The part of metav1.ObjectMeta that this layer reads."""

    namespace: str
    name: str
    uid: str
    resourceVersion: str
    deletionTimestamp: str
    labels: dict[str, str]
    annotations: dict[str, str]
    ownerReferences: list[OwnerReference]


def metadata_of(obj: KubeObject) -> Metadata:
    """The object's metadata. Raises KeyError for what is not a Kubernetes object."""
    return cast(Metadata, obj["metadata"])


def key_of(obj: KubeObject) -> Key:
    """(namespace, name)."""
    metadata = metadata_of(obj)
    return metadata.get("namespace", ""), metadata.get("name", "")


def uid_of(obj: KubeObject) -> str:
    """The uid, or an empty string before the object was created."""
    return metadata_of(obj).get("uid", "")


def labels_of(obj: KubeObject) -> Mapping[str, str]:
    """The labels; read-only."""
    return metadata_of(obj).get("labels") or {}


def annotations_of(obj: KubeObject) -> Mapping[str, str]:
    """The annotations; read-only."""
    return metadata_of(obj).get("annotations") or {}


def is_terminating(obj: KubeObject) -> bool:
    """Whether deletion has been asked for."""
    return bool(metadata_of(obj).get("deletionTimestamp"))


def controller_of(obj: KubeObject) -> OwnerReference | None:
    """The owner that is marked `controller: true`; the API server admits at most one."""
    owners = metadata_of(obj).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_uid(obj: KubeObject) -> str:
    """The uid of the controlling owner, or an empty string."""
    owner = controller_of(obj)
    return owner.get("uid", "") if owner else ""


def resource_version_of(obj: KubeObject) -> int | None:
    """The resourceVersion as a number, or None where it is absent or opaque.

    Since Kubernetes 1.35 the versions of one resource are defined to be decimal and ordered (KEP-5504); API servers on
    etcd have always behaved so.
    """
    version = metadata_of(obj).get("resourceVersion", "")
    return int(version) if version.isdecimal() else None


def condition_of(obj: KubeObject, type_: str) -> tuple[str, str]:
    """Status and reason of a condition; empty if it is not there, or the status is none that can be read."""
    try:
        for item in obj["status"]["conditions"]:
            if item["type"] == type_:
                return item["status"], item.get("reason", "")
    except (KeyError, TypeError):
        pass
    return "", ""
