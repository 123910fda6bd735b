"""The API resources that the control side and the egress plane use, and the URL path of each."""

from dataclasses import dataclass
from urllib.parse import quote

from agentsession.kube.errors import InvalidError
from agentsession.kube.objects import Key


@dataclass(frozen=True)
class Resource:
    """One served resource. `group` is empty for the core API."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As in the `apiVersion` of an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def collection(self, namespace: str = "") -> str:
        """The path of all objects, or of those in one namespace."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{_segment(namespace)}" if namespace and self.namespaced else ""
        return f"{root}{scope}/{self.plural}"

    def path(self, key: Key, subresource: str = "") -> str:
        """The path of one object. Raises InvalidError for a name that no object can have."""
        namespace, name = key
        if self.namespaced and not namespace:
            raise InvalidError(0, "Invalid", f"{self.plural} {name!r}: a namespace is needed")
        path = f"{self.collection(namespace)}/{_segment(name)}"
        return f"{path}/{subresource}" if subresource else path


def _segment(name: str) -> str:
    # The API server's own rule. Names come from references in specs: ".." must not lead to another path.
    if name in {"", ".", ".."} or "/" in name or "%" in name:
        raise InvalidError(
            0, "Invalid", f"{name!r} cannot name an object: it is empty, '.', '..', or has '/' or '%' in it"
        )
    return quote(name, safe="")


PODS = Resource("", "v1", "Pod", "pods")
SERVICES = Resource("", "v1", "Service", "services")
SECRETS = Resource("", "v1", "Secret", "secrets")
CONFIGMAPS = Resource("", "v1", "ConfigMap", "configmaps")
SERVICEACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts")
PERSISTENTVOLUMECLAIMS = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases")
EVENTS = Resource("events.k8s.io", "v1", "Event", "events")
TOKENREVIEWS = Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)
SUBJECTACCESSREVIEWS = Resource(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False
)
AGENTSESSIONS = Resource("agentsession.io", "v1alpha1", "AgentSession", "agentsessions")
AGENTPOOLS = Resource("agentsession.io", "v1alpha1", "AgentPool", "agentpools")
AGENTTENANTS = Resource("agentsession.io", "v1alpha1", "AgentTenant", "agenttenants")
