from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.unit

MANIFEST = Path(__file__).parents[2] / "devcluster" / "scripted" / "manifest.yaml"


def test_the_service_reaches_the_pod_that_the_deployment_makes() -> None:
    namespace, deployment, service = yaml.safe_load_all(MANIFEST.read_text())
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert deployment["metadata"]["namespace"] == service["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert (
        service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    )
    assert service["spec"]["ports"] == [{"name": "http", "port": 8000, "targetPort": "http"}]
    assert container["ports"] == [{"name": "http", "containerPort": 8000}]
    assert container["args"][2:4] == ["--port", "8000"]
