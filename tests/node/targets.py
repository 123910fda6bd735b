"""Everything in the cluster that a runner must not reach, by every address that it has."""

import asyncio
from dataclasses import dataclass

from agentsession.kube.objects import is_terminating
from agentsession.kube.resource import PODS, SERVICES, Resource
from agentsession_runner.protocol import PORT
from agentsession_runner.settings import KUBELET_PORT
from devcluster.install import NAMESPACE as SYSTEM

from .attacker import Place, Targets
from .world import World

NODES = Resource("", "v1", "Node", "nodes", namespaced=False)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
NAMES = ["kubernetes.default.svc", "scripted-model.scripted-model.svc"]


@dataclass(frozen=True)
class Map:
    """`open` is what any pod may reach, `guarded` what only the operator may, `egress` what is there for runners."""

    open: Targets
    guarded: Targets
    egress: list[str]


async def survey(world: World, neighbour: Place, *runners: Place) -> Map:
    """The cluster as it is now, with those runners in it."""
    return Map(
        open=Targets(
            names=NAMES,
            tcp=[
                *await service(world, "default", "kubernetes"),
                *await service(world, "kube-system", "kube-dns"),
                *await service(world, "scripted-model", "scripted-model"),
                *await service(world, SYSTEM, "agentsession-operator"),
                *await service(world, SYSTEM, "agentsession-canary"),
                *await _kubelets(world),
                f"{await neighbour.address()}:{PORT}",
            ],
            dns=[
                *await service(world, "kube-system", "kube-dns", protocol="UDP"),
            ],
        ),
        guarded=Targets(
            tcp=[
                *[f"{address}:{PORT}" for address in await asyncio.gather(*(runner.address() for runner in runners))],
                *[f"{address}:8081" for address in await _pods(world, "egress")],
            ]
        ),
        egress=[*await service(world, SYSTEM, "agentsession-egress")],
    )


async def operator(world: World) -> Place:
    """The operator's own container: the one place from which policies admit to runners."""
    pods = await world.api.list(PODS, namespace=SYSTEM, label_selector="app.kubernetes.io/component=operator")
    return Place(world, SYSTEM, pods.items[0]["metadata"]["name"], "operator")


async def service(world: World, namespace: str, name: str, protocol: str = "TCP") -> list[str]:
    """A Service by its ClusterIP and by each endpoint."""
    spec = (await world.api.get(SERVICES, (namespace, name)))["spec"]
    found = [f"{spec['clusterIP']}:{port['port']}" for port in spec["ports"] if port.get("protocol") == protocol]
    selector = f"kubernetes.io/service-name={name}"
    for each in (await world.api.list(ENDPOINT_SLICES, namespace=namespace, label_selector=selector)).items:
        ports = [port["port"] for port in each["ports"] if port.get("protocol") == protocol]
        addresses = [address for endpoint in each["endpoints"] for address in endpoint["addresses"]]
        found += [f"{address}:{port}" for address in addresses for port in ports]
    return found


async def _kubelets(world: World) -> list[str]:
    nodes = (await world.api.list(NODES)).items
    addresses = [entry for node in nodes for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]
    return [f"{entry['address']}:{KUBELET_PORT}" for entry in addresses]


async def _pods(world: World, component: str) -> list[str]:
    """Those that are to stay: one that the last upgrade replaces answers nobody any more."""
    selector = f"app.kubernetes.io/component={component}"
    found = (await world.api.list(PODS, namespace=SYSTEM, label_selector=selector)).items
    return [pod["status"]["podIP"] for pod in found if not is_terminating(pod)]
