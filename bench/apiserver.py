"""What the API server counts: the writes it has answered, and who follows a kind."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from agentsession.kube.resource import Resource
from devcluster import progress
from devcluster.kubectl import kubectl

WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
SECONDS = 120.0
"""The garbage collector asks every 30 s which kinds there are."""


async def writes(kubeconfig: Path) -> float:
    """Whoever made them; Leases are written in any case."""
    return sum(
        sample.value
        for sample in await _samples(kubeconfig, "apiserver_request_total")
        if sample.labels["verb"] in WRITES and sample.labels["resource"] not in ("leases", "tokenreviews")
    )


async def until_followed(kubeconfig: Path, *kinds: Resource) -> None:
    """Wait until somebody watches kinds whose controller does not run yet: the garbage collector does so then.

    Of an owner of a kind that it does not watch, it asks the API server again and again, beside what is measured.
    """
    with progress.step(f"until the garbage collector follows {', '.join(kind.plural for kind in kinds)}"):
        async with asyncio.timeout(SECONDS):
            while not {kind.plural for kind in kinds} <= await _followed(kubeconfig):
                await asyncio.sleep(1)


async def _followed(kubeconfig: Path) -> set[str]:
    watches = await _samples(kubeconfig, "apiserver_longrunning_requests")
    return {sample.labels["resource"] for sample in watches if sample.labels["verb"] == "WATCH" and sample.value > 0}


async def _samples(kubeconfig: Path, name: str) -> list[Sample]:
    text = await asyncio.to_thread(kubectl, kubeconfig, "get", "--raw", "/metrics")
    return [
        sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name
    ]
