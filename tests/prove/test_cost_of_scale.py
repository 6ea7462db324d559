"""A request costs about the same where an instance knows many mirrors, bans and keys."""

from __future__ import annotations

import pytest

from benchmarks.counting import TOOLS, Counts, count
from benchmarks.scale import SIZES, SMALL, Size, ratios
from monitor.common import compiled
from tests.prove.conftest import Measure
from tests.testkit.programs import require

pytestmark = pytest.mark.prove


@pytest.fixture(params=[compiled.PURE, compiled.COMPILED], scope="module")
def form(request: pytest.FixtureRequest) -> str:
    for tool in TOOLS:
        require(tool)
    if request.param == compiled.COMPILED:
        try:
            compiled.usable(compiled.folder())
        except compiled.CannotUse as error:
            pytest.skip(f"the compiled form cannot be used: {error}")
    return str(request.param)


@pytest.fixture(scope="module")
def small(form: str) -> Counts:
    return count(form, SMALL)


@pytest.mark.parametrize("size", [s for s in SIZES if s.bound], ids=lambda size: size.about)
def test_a_request_hardly_costs_more_with(
    size: Size, form: str, small: Counts, measured: Measure
) -> None:
    found = ratios(count(form, size.setup), small)
    for kind, ratio in found.items():
        measured(f"{form}, {size.about}: instructions, in those of a small instance: {kind}", ratio)
    assert size.bound is not None
    assert max(found.values()) <= size.bound
