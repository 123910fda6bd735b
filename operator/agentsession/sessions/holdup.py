"""What holds up a pod whose containers do not run yet: the tenant's volume, or its node."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from agentsession.runners.podview import PodView
from agentsession.runners.trouble import Trouble

PATIENCE = timedelta(seconds=20)
"""How long a volume may take to be made, or a node to set a pod up, before that is trouble."""
ABSENT, BOUND = "absent", "Bound"


@dataclass(frozen=True)
class Claim:
    """The tenant's PersistentVolumeClaim. phase: Pending, Bound or Lost, or ABSENT."""

    name: str
    phase: str
    storage_class: str = ""

    @property
    def told(self) -> str:
        of = f" of StorageClass {self.storage_class}" if self.storage_class else ""
        return f"PersistentVolumeClaim {self.name}{of} is {self.phase}"


def held_up(pod: PodView, claim: Claim | None, now: datetime) -> tuple[Trouble | None, timedelta | None]:
    """The trouble that there is, and when to look again whether there is some. claim: None without a workspace."""
    unbound = claim if claim is not None and claim.phase != BOUND else None
    if pod.trouble is not None:
        if unbound is not None and pod.trouble.reason == "Unschedulable":
            return Trouble("VolumeNotReady", f"{unbound.told}: {pod.trouble.message}"), None
        return pod.trouble, None
    left = (pod.created or now) + PATIENCE - now
    if pod.set_up or left > timedelta(0):
        return None, None if pod.set_up else left
    if unbound is not None:
        return Trouble("VolumeNotReady", f"{unbound.told}: no volume was made for it yet, see its events"), None
    waits = f"its network or its volumes, {claim.told}" if claim is not None else "its network"
    why = f"the node has not set pod {pod.name} up for {PATIENCE.seconds} s, it waits for {waits}: see the pod's events"
    return Trouble("ContainerNotCreated", why), None
