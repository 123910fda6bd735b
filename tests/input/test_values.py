"""Helm refuses values that cannot work before anything is sent to a cluster, and says where."""

import pytest

from tests.chart.helm import template

from .corpus import Case, cases

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("case", cases("values"), ids=str)
def test_is_refused_by_its_place(case: Case) -> None:
    done = template(None, "--values", str(case.path))
    assert done.returncode != 0
    assert case.expects(done.stderr), done.stderr
