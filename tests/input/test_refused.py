"""The API server refuses what cannot work, and says which field it is and what would be right."""

import pytest

from .asking import Asker
from .corpus import cases, resource_of

pytestmark = pytest.mark.apiserver


async def test_each_is_refused_by_field_and_with_a_remedy(asker: Asker) -> None:
    unclear = {}
    for case in cases("refused"):
        (text,) = case.documents
        answer = await asker.create(resource_of(text), text)
        if answer.admitted or not case.expects(answer.message) or "should match" in answer.message:
            unclear[case.name] = answer.message
    assert unclear == {}


async def test_each_change_is_refused_by_field_and_with_a_remedy(asker: Asker) -> None:
    unclear = {}
    for case in cases("changed"):
        before, after = case.documents
        resource = resource_of(before)
        made = await asker.apply(resource, case.name, before, keep=True)
        assert made.admitted, made.message
        answer = await asker.apply(resource, case.name, after)
        if answer.admitted or not case.expects(answer.message):
            unclear[case.name] = answer.message
    assert unclear == {}
