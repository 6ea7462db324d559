"""Every seed of every fuzzer, and what fuzzing has found before, again."""

from __future__ import annotations

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_finding_of_the_fuzzer_stays_fixed(target: str) -> None:
    for name, data in seeds(target).items():
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"{target}: {name}") from error
