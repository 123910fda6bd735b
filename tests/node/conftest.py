"""The whole product on a real node: installed by its chart, with enforced NetworkPolicy and a scripted model.

The cluster is devcluster's, and stays up after the tests. Each test has namespaces of its own.
"""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.resource import NAMESPACES, SERVICES
from devcluster import cluster, images, install, project, settings
from devcluster.demo import scene

from .world import Installed, Model, Team, World


@pytest.fixture(scope="session")
def installed() -> Installed:
    """Cluster up, images built and loaded, scripted model running, chart installed."""
    made = cluster.up(settings.state_dir())
    built = project.build(project.DOCKERFILES)
    for image in built.values():
        images.load(image)
    references = {name: image.reference for name, image in built.items()}
    scene.start_scripted_model(made.kubeconfig, references["scripted"])
    upstreams: dict[str, object] = {"upstreams": [scene.REAL_API, scene.SCRIPTED_API]}
    wanted = install.image_values(references["operator"], references["runner"])
    install.install(made.kubeconfig, install.merge(install.SMALL, wanted, upstreams))
    return Installed(made.kubeconfig, references)


@pytest.fixture
async def world(installed: Installed) -> AsyncIterator[World]:
    """The installation, an administrator's client, and a factory of teams that cleans up after the test."""
    connection = Connection.from_kubeconfig(str(installed.kubeconfig))
    async with connection.open() as session, aiohttp.ClientSession() as http:
        api = ApiClient(connection.server, session)
        service = await api.get(SERVICES, ("scripted-model", "scripted-model"))
        model = Model(http, f"http://{service['spec']['clusterIP']}:8000")
        made = World(installed, api, model)
        yield made
        for team in made.teams:
            await api.delete(NAMESPACES, ("", team.namespace))


@pytest.fixture
async def team(world: World) -> Team:
    """A namespace with a tenant that is ready."""
    return await world.team()
