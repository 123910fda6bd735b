"""With the operator's token only runners can be made. Each attack works where the policies are not in force."""

from collections.abc import Callable
from typing import Any

import pytest

from agentsession.kube.errors import ForbiddenError
from agentsession.kube.resource import PODS, SERVICEACCOUNTS

from .cluster import ELSEWHERE, GUARDED, OPEN, Callers
from .objects import Object, account, plain_pod, runner

pytestmark = pytest.mark.apiserver

Change = Callable[[Any], object]


def spec(**fields: Any) -> Change:
    """Set fields of the pod's spec."""
    return lambda pod: pod["spec"].update(fields)


def container(**fields: Any) -> Change:
    """Set fields of the runner's container."""
    return lambda pod: pod["spec"]["containers"][0].update(fields)


def security(**fields: Any) -> Change:
    """Set fields of the pod's securityContext."""
    return lambda pod: pod["spec"]["securityContext"].update(fields)


def more(field: str, item: object) -> Change:
    """Append to a list of the spec."""
    return lambda pod: pod["spec"][field].append(item)


def env(**variable: Any) -> Change:
    """Add a variable to the runner's container."""
    return lambda pod: pod["spec"]["containers"][0]["env"].append({"name": "AGENTSESSION_X", **variable})


def volume(**source: Any) -> Change:
    """Add a volume."""
    return more("volumes", {"name": "more", **source})


def mount(**fields: Any) -> Change:
    """Mount the tenant's claim."""

    def change(pod: Any) -> None:
        pod["spec"]["volumes"][0] = {"name": "workspace", "persistentVolumeClaim": {"claimName": "agentsession-t"}}
        pod["spec"]["containers"][0]["volumeMounts"][0] = {"name": "workspace", "mountPath": "/workspace", **fields}

    return change


def drop(*path: Any) -> Change:
    """Remove a field."""

    def change(pod: Any) -> None:
        *way, last = path
        for step in way:
            pod = pod[step]
        del pod[last]

    return change


def both(*changes: Change) -> Change:
    """Several changes."""
    return lambda pod: [change(pod) for change in changes]


SERVICE_TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}
EXECUTE = {"exec": {"command": ["sh"]}}
ATTACKS: dict[str, tuple[Change, str]] = {
    "no label": (drop("metadata", "labels", "agentsession.io/runner"), "runner pods only"),
    "labels that a Service selects": (lambda pod: pod["metadata"]["labels"].update(app="bank"), "no label of others"),
    "a second network": (
        lambda pod: pod["metadata"].update(annotations={"k8s.v1.cni.cncf.io/networks": "open"}),
        "metadata.annotations",
    ),
    "no owner": (drop("metadata", "ownerReferences"), "metadata.ownerReferences"),
    "an owner of another kind": (
        lambda pod: pod["metadata"]["ownerReferences"][0].update(kind="Job", apiVersion="batch/v1"),
        "metadata.ownerReferences",
    ),
    "another account": (spec(serviceAccountName="default"), "spec.serviceAccountName"),
    "the account's token": (spec(automountServiceAccountToken=True), "its token is not mounted"),
    "the account's token by default": (drop("spec", "automountServiceAccountToken"), "its token is not mounted"),
    "Secret volume": (volume(secret={"secretName": "key"}), "spec.volumes"),
    "ConfigMap volume": (volume(configMap={"name": "settings"}), "spec.volumes"),
    "host path": (volume(hostPath={"path": "/"}), "spec.volumes"),
    "image volume": (volume(image={"reference": "strange:1"}), "spec.volumes"),
    "ephemeral claim": (
        volume(
            ephemeral={
                "volumeClaimTemplate": {
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
                }
            }
        ),
        "spec.volumes",
    ),
    "a claim of others": (volume(persistentVolumeClaim={"claimName": "payroll"}), "spec.volumes"),
    "projected Secret": (volume(projected={"sources": [{"secret": {"name": "key"}}]}), "spec.volumes"),
    "a token for the API server": (volume(projected={"sources": [SERVICE_TOKEN]}), "spec.volumes"),
    "the root of a claim": (mount(), "one session's folder only"),
    "a nested folder": (mount(subPath="w-1/x"), "one session's folder only"),
    "a file over the program": (mount(subPath="w-1", mountPath="/usr/lib/python3"), "volumeMounts"),
    "Secret in a variable": (env(valueFrom={"secretKeyRef": {"name": "key", "key": "k"}}), "env: "),
    "ConfigMap in a variable": (env(valueFrom={"configMapKeyRef": {"name": "c", "key": "k"}}), "env: "),
    "a variable that loads code": (env(name="PYTHONPATH", value="/workspace"), "env: "),
    "all variables of a Secret": (container(envFrom=[{"secretRef": {"name": "key"}}]), "has no envFrom"),
    "another command": (container(command=["sh"]), "has no command"),
    "other arguments": (container(args=["-c", "evil"]), "args \\[serve\\]"),
    "a hook": (container(lifecycle={"postStart": EXECUTE}), "has no lifecycle"),
    "a probe": (container(livenessProbe=EXECUTE), "has no livenessProbe"),
    "another folder to start in": (container(workingDir="/workspace"), "has no workingDir"),
    "a block device": (
        both(
            spec(hostUsers=True),
            mount(subPath="w-1"),
            container(volumeDevices=[{"name": "block", "devicePath": "/dev/x"}]),
            volume(persistentVolumeClaim={"claimName": "agentsession-x"}),
            lambda pod: pod["spec"]["volumes"][-1].update(name="block"),
        ),
        "has no volumeDevices",
    ),
    "no check of containment": (drop("spec", "initContainers"), "init container contain"),
    "a check that is a sidecar": (
        lambda pod: pod["spec"]["initContainers"][0].update(restartPolicy="Always"),
        "has no restartPolicy",
    ),
    "one container more": (more("containers", {"name": "more", "image": "runner:1"}), "securityContext of each"),
    "an image of its own": (
        container(image="strange:1"),
        "strange:1 is not among the installer's images: runner:1, runner:2",
    ),
    "a runtime of its own": (spec(runtimeClassName="weak"), "is not among the installer's classes: gvisor"),
    "the node's network": (spec(hostNetwork=True, hostUsers=True), "a runner has no spec.hostNetwork"),
    "the node's processes": (spec(hostPID=True, hostUsers=True), "a runner has no spec.hostPID"),
    "the node's memory": (spec(hostIPC=True, hostUsers=True), "a runner has no spec.hostIPC"),
    "the node's users": (spec(hostUsers=True), "spec.hostUsers is false"),
    "a port of the node": (container(ports=[{"containerPort": 8700, "hostPort": 8700}]), "no hostPort"),
    "a node by name": (both(drop("spec", "schedulingGates"), spec(nodeName="control-plane")), "spec.nodeName"),
    "no gate": (drop("spec", "schedulingGates"), "spec.schedulingGates"),
    "another gate": (spec(schedulingGates=[{"name": "strange.example/open"}]), "spec.schedulingGates"),
    "shared processes": (spec(shareProcessNamespace=True), "a runner has no spec.shareProcessNamespace"),
    "the cluster's DNS": (spec(dnsPolicy="ClusterFirst"), "no DNS"),
    "a name server": (spec(dnsConfig={"nameservers": ["10.96.0.10"]}), "no DNS"),
    "for ever": (drop("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds"),
    "again and again": (spec(restartPolicy="Always"), "restartPolicy Never"),
    "the addresses of all Services": (spec(enableServiceLinks=True), "enableServiceLinks"),
    "priority over the system": (spec(priorityClassName="system-node-critical"), "spec.priorityClassName"),
    "root": (security(runAsUser=0, runAsNonRoot=False), "spec.securityContext"),
    "the user of a system": (security(runAsUser=1000, runAsGroup=1000, fsGroup=1000), "spec.securityContext"),
    "the group of others": (security(supplementalGroups=[0]), "spec.securityContext"),
    "a kernel setting": (
        security(sysctls=[{"name": "net.ipv4.ip_local_port_range", "value": "1024 65535"}]),
        "spec.sec",
    ),
    "no seccomp": (security(seccompProfile={"type": "Unconfined"}), "spec.securityContext"),
    "a capability": (
        lambda pod: pod["spec"]["containers"][0]["securityContext"].update(
            capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}
        ),
        "securityContext of each",
    ),
    "privilege to gain": (
        lambda pod: pod["spec"]["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True),
        "securityContext of each",
    ),
    "a root that can be written": (
        lambda pod: pod["spec"]["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False),
        "securityContext of each",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_pod_unlike_a_runner_is_refused(callers: Callers, attack: str) -> None:
    change, says = ATTACKS[attack]
    for namespace in (OPEN, GUARDED):
        pod = await runner(callers, namespace)
        change(pod)
        if namespace == OPEN:
            await callers.operator.create(PODS, pod)
        else:
            with pytest.raises(ForbiddenError, match=f"agentsession-(runner-shape|operator-pods).*{says}"):
                await callers.operator.create(PODS, pod)


async def test_a_pod_that_is_none_of_its_business_is_refused(callers: Callers) -> None:
    await callers.operator.create(PODS, plain_pod(OPEN))
    with pytest.raises(ForbiddenError, match="runner pods only"):
        await callers.operator.create(PODS, plain_pod(GUARDED))


async def test_runners_are_refused_where_the_installer_wants_none(callers: Callers) -> None:
    await callers.operator.create(PODS, await runner(callers, OPEN))
    await callers.admin.apply(SERVICEACCOUNTS, account(ELSEWHERE))
    with pytest.raises(ForbiddenError, match=f"kubectl label namespace {ELSEWHERE} agentsession.io/sessions=allowed"):
        await callers.operator.create(PODS, await runner(callers, ELSEWHERE))


CHOICES: dict[str, Object] = {
    "the smallest": {},
    "a runtime": {"runtime": {"runtimeClassName": "gvisor"}},
    "an image": {"runtime": {"image": "runner:2"}},
    "resources": {"runtime": {"resources": {"limits": {"memory": "2Gi"}}}},
}


@pytest.mark.parametrize("choice", CHOICES)
async def test_what_the_operator_builds_is_admitted(callers: Callers, choice: str) -> None:
    await callers.operator.create(PODS, await runner(callers, GUARDED, **CHOICES[choice]))
