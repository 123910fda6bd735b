"""Looks up the addresses that runner pods are built with."""

import os

from agentsession.api.installation import Installation
from agentsession.kube.client import ApiClient
from agentsession.kube.resource import SERVICES
from agentsession.resources.surroundings import Surroundings


async def find(api: ApiClient, install: Installation) -> Surroundings:
    """Services of this installation, and the API server as pods find it. Raises kube.errors.ApiError."""
    return Surroundings(
        egress_ip=await _cluster_ip(api, install.namespace, install.egress.service),
        canary_ip=await _cluster_ip(api, install.namespace, install.canary.service),
        api_server=await _api_server(api),
    )


async def _cluster_ip(api: ApiClient, namespace: str, name: str) -> str:
    service = await api.get(SERVICES, (namespace, name))
    address: str = service["spec"]["clusterIP"]
    return address


async def _api_server(api: ApiClient) -> str:
    """As the kubelet tells every pod; outside a pod, as the Service `kubernetes` says."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"{host or await _cluster_ip(api, 'default', 'kubernetes')}:{port}"
