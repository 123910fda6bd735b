"""Everything that is rendered or shipped is valid for the pinned Kubernetes, with no field that it does not know."""

import subprocess
from pathlib import Path

import pytest

from devcluster import binaries
from tests.chart import schemas
from tests.chart.helm import ROOT, template, values_of

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("schemas")
    schemas.write(folder)
    return str(folder / schemas.LOCATION)


def kubeconform(location: str, manifests: str) -> subprocess.CompletedProcess[str]:
    program = binaries.resolve(["kubeconform"])["kubeconform"]
    command = [str(program), "-strict", "-summary", "-schema-location", location, "-"]
    return subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["default", "minimal", "everything"])
def test_rendered_objects_are_valid(location: str, name: str) -> None:
    done = kubeconform(location, template(values_of(name)).stdout)
    assert done.returncode == 0, done.stdout
    assert "Skipped: 0" in done.stdout


@pytest.mark.parametrize("folder", ["crds", "rbac"])
def test_plain_manifests_are_valid(location: str, folder: str) -> None:
    files: list[Path] = sorted((ROOT / "manifests" / folder).glob("*.yaml"))
    assert files
    done = kubeconform(location, "".join(file.read_text() for file in files))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("readOnlyRootFilesystem", "readonlyRootFilesystem"),
        ("maxConcurrent", "maxConcurent"),
        ("replicas: 3", "replicas: x"),
    ],
)
def test_a_wrong_field_is_found(location: str, right: str, wrong: str) -> None:
    rendered = template(values_of("everything")).stdout
    assert right in rendered
    assert kubeconform(location, rendered.replace(right, wrong)).returncode == 1
