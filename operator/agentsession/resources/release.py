"""The second write of every runner: the operator's word, for the UID that the first one gave it, and the way to a node.

Until then a gate keeps it from every node: what the operator died before signing never runs, and nobody else writes to
the pod meanwhile, so that this write meets no conflict (docs/decisions/0026).
"""

GATE = "agentsession.io/unsigned"


def release_patch(pod_uid: str, annotation: str, signed: str) -> dict[str, object]:
    """A merge patch of a pod that still waits behind its gate.

    It also empties managedFields, and the API server then tracks none: nobody applies runners, and each policy that
    looks at a pod would decode them anew.
    """
    metadata = {"uid": pod_uid, "annotations": {annotation: signed}, "managedFields": [{}]}
    return {"metadata": metadata, "spec": {"schedulingGates": None}}
