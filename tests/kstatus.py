"""How kstatus judges an object of a kind that it has no rule for: what helm --wait, Flux and kpt wait for.

The rules are those of sigs.k8s.io/cli-utils pkg/kstatus, checkGenericProperties and checkReadyCondition.
"""

from collections.abc import Mapping
from typing import Any, Literal

Verdict = Literal["Current", "InProgress", "Failed", "Terminating"]


def kstatus(obj: Mapping[str, Any]) -> Verdict:
    """The verdict on an object as the API server sends it."""
    metadata, status = obj["metadata"], obj.get("status", {})
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for item in conditions:
        if item["status"] == "True" and item["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if item["type"] == "Reconciling" else "Failed"
    ready = next((item["status"] for item in conditions if item["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"
