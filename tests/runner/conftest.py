from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentsession_runner.layout import Layout
from devcluster.scripted.server import Scripted
from tests.runner.harness import Egress, planes, prepared


@pytest.fixture
async def egress_and_model() -> AsyncIterator[tuple[Egress, Scripted]]:
    async with planes() as both:
        yield both


@pytest.fixture
def egress(egress_and_model: tuple[Egress, Scripted]) -> Egress:
    return egress_and_model[0]


@pytest.fixture
def model(egress_and_model: tuple[Egress, Scripted]) -> Scripted:
    return egress_and_model[1]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return prepared(tmp_path)
