"""Two hundred reloads under load: nothing is lost, nothing grows."""

import copy
from dataclasses import dataclass

import pytest

from tests.support.certs import Authority
from tests.support.farm import Farm
from tests.support.instance import Config, Instance
from tests.support.load import SteadyLoad
from tests.support.measure import Measure
from tests.support.sockets import open_files, resident_bytes
from tests.support.wait import wait_until

pytestmark = pytest.mark.prove

RELOADS = 200
WARM_UP = 40
MIB = 1 << 20


@dataclass(frozen=True)
class Use:
    """What a process uses."""

    role: str
    resident: int
    files: int


def used(instance: Instance) -> dict[int, Use]:
    return {
        child.pid: Use(child.role, resident_bytes(child.pid), open_files(child.pid))
        for child in instance.children()
    }


def variant(config: Config, number: int) -> Config:
    """The configuration with a mirror left out, changed or all there, in turn."""
    new = copy.deepcopy(config)
    which = number % len(new["mirrors"])
    if number % 3 == 0:
        del new["mirrors"][which]
    elif number % 3 == 1:
        new["mirrors"][which]["weight"] = 1.0 + number
    return new


def test_neither_memory_nor_descriptors_grow_with_reloads(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, measured: Measure
):
    with Farm(tmp_path_factory.mktemp("reloads"), authority) as farm:
        instance = farm.instance
        with SteadyLoad(instance.base_url) as load:
            for number in range(WARM_UP):
                instance.reload(variant(farm.config(), number))
            load.more(300)
            before = used(instance)
            for number in range(RELOADS):
                instance.reload(variant(farm.config(), number))
            load.more(300)
        instance.reload(farm.config())
        wait_until(lambda: _files_settled(instance, before), 60, "connections to be closed")
        after = used(instance)
        for pid, use in before.items():
            growth = (after[pid].resident - use.resident) / MIB
            measured(f"MiB of {use.role} before {RELOADS} reloads", use.resident / MIB)
            measured(f"MiB that {use.role} grew", growth)
            measured(f"descriptors of {use.role} before and after", (use.files, after[pid].files))
            assert growth < 8
    measured("requests during reloads", len(load.results))
    assert load.failures == []


def _files_settled(instance: Instance, before: dict[int, Use]) -> bool:
    now = used(instance)
    return all(now[pid].files <= use.files for pid, use in before.items())
