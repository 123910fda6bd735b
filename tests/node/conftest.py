"""The whole product on a real node: installed by its chart, with enforced NetworkPolicy and a scripted model.

The cluster is devcluster's, and stays up after the tests. Each test has namespaces of its own.
"""

from collections.abc import AsyncIterator

import pytest

from devcluster import cluster, images, install, project, settings
from devcluster.demo import scene

from .world import POOLS, VOUCHED, Installed, Team, World, entered


@pytest.fixture(scope="session")
def installed() -> Installed:
    """Cluster up, images built and loaded, scripted model running, chart installed."""
    made = cluster.up(settings.state_dir())
    built = project.build(project.DOCKERFILES)
    for image in built.values():
        images.load(image)
    references = {name: image.reference for name, image in built.items()}
    scene.start_scripted_model(made.kubeconfig, references["scripted"])
    chosen: dict[str, object] = {
        "upstreams": [scene.REAL_API, scene.SCRIPTED_API],
        "runner": {"networkPolicies": [VOUCHED]},
        "pools": {"sharedNamespaces": [POOLS]},
    }
    wanted = install.image_values(references["operator"], references["runner"])
    install.install(made.kubeconfig, install.merge(install.SMALL, wanted, chosen))
    return Installed(made.kubeconfig, references)


@pytest.fixture
async def world(installed: Installed) -> AsyncIterator[World]:
    """The installation, an administrator's client, and a factory of teams that cleans up after the test."""
    async with entered(installed) as made:
        yield made


@pytest.fixture
async def team(world: World) -> Team:
    """A namespace with a tenant that is ready."""
    return await world.team()
