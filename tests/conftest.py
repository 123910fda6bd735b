"""What every tier shares: a control plane to talk to, and a namespace of one's own in it."""

import os
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Container, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from agentsession.kube.client import ApiClient
from agentsession.kube.connection import Connection
from agentsession.kube.resource import NAMESPACES, SERVICEACCOUNTS
from devcluster.controlplane import ControlPlane
from tests.sessions.inprocess import World, operating

TIERS = ("unit", "apiserver", "kwok", "node")
_seconds: defaultdict[str, float] = defaultdict(float)


def _tier(keywords: Container[str]) -> str:
    return next((tier for tier in TIERS if tier in keywords), TIERS[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fast tiers first, so that what is wrong is seen early."""
    items.sort(key=lambda item: TIERS.index(_tier(item.keywords)))


class _Shared(LoadScopeScheduling):  # type: ignore[misc]
    """Tests go to whichever process is free; those that share the one node, or a runner, all to the same, and first.

    xdist's own groups are of no use: pytest 9 does not see the names that it gives to tests of a group.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/node/"):
            return "node"
        return nodeid.partition("::")[0] if nodeid.startswith("tests/runner/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Spread tests over processes."""
    return _Shared(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count each tier's time, set-up and tear-down included."""
    _seconds[_tier(report.keywords)] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long each tier took."""
    spent = [f"{tier}: {_seconds[tier] / 60:.1f} min" for tier in TIERS if tier in _seconds]
    terminalreporter.write_line("time per tier: " + ", ".join(spent))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The administrator's kubeconfig of a real control plane: the one that KUBECONFIG_TEST names, else a new one."""
    given = os.environ.get("KUBECONFIG_TEST")
    if given:
        yield Path(given)
        return
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane.kubeconfig


@pytest.fixture(scope="session")
def connection(control_plane: Path) -> Connection:
    """How to reach it as its administrator."""
    return Connection.from_kubeconfig(str(control_plane))


@pytest.fixture
async def api(connection: Connection) -> AsyncIterator[ApiClient]:
    """The project's own client, as administrator."""
    async with connection.open() as session:
        yield ApiClient(connection.server, session)


@pytest.fixture
async def world(api: ApiClient, namespace: str) -> AsyncIterator[World]:
    """The controllers at work in that namespace, with runners and an egress plane of a few lines."""
    async with operating(api, namespace) as made:
        yield made


@pytest.fixture
async def namespace(api: ApiClient) -> AsyncIterator[str]:
    """A new namespace in which pods can be created at once, asked to go after the test."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # The controller-manager would make it in a moment; pods are refused without it.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": name, "name": "default"}}
    await api.apply(SERVICEACCOUNTS, account)
    yield name
    await api.delete(NAMESPACES, ("", name))
