"""The small parts of the test farm whose faults would be hard to see from afar."""

import hashlib
import tomllib

import pytest

from tests.conftest import LONGEST, TESTS
from tests.testkit.instance import to_toml
from tests.testkit.mirror.behaviour import Behaviour
from tests.testkit.mirror.payload import BLOCK, generated_file, payload, sha256_of
from tests.testkit.ports import HIGHEST, LOWEST, free_ports, share
from tests.testkit.processes import role_of


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_a_generated_file_holds_the_bytes_of_its_payload(size: int):
    file = generated_file(size, seed=7)
    assert file.read() == payload(size, seed=7)
    assert len(payload(size, seed=7)) == size
    assert hashlib.sha256(payload(size, 7)).hexdigest() == sha256_of(size, 7)


def test_a_generated_file_can_be_read_again_in_odd_steps():
    file = generated_file(2 * BLOCK + 5)
    steps = iter(lambda: file.read(1000), b"")
    assert b"".join(steps) == payload(2 * BLOCK + 5)
    assert file.seek(0, 2) == 2 * BLOCK + 5
    assert file.seek(0) == 0
    assert file.read(9) == payload(9)


def test_toml_reads_back_equal():
    config = {
        "title": 'quotes " and \\ and 香港',
        "router": {"workers": 2, "retry": {"budget": 0.2, "ambiguous": "once"}, "on": True},
        "mirrors": [{"id": "a", "model_map": {"gpt-4": "x"}}, {"id": "b", "models": ["m"]}],
        "prices": {"gpt-4": {"input": 1.5}},
        "empty": {},
    }
    assert tomllib.loads(to_toml(config)) == config


def test_free_ports_are_different():
    assert len(set(free_ports(50))) == 50


def test_tests_side_by_side_have_no_port_in_common():
    shares = [set(share(f"gw{number}")) for number in range(4)]
    assert len(set.union(*shares)) == sum(map(len, shares)) > 4 * 1000
    assert set.union(*shares) < set(range(LOWEST, HIGHEST + 1))


def test_a_port_that_was_found_free_is_not_found_again_soon():
    found = [free_ports(1)[0] for _ in range(500)]
    assert len(set(found)) == 500


def test_the_longest_files_exist():
    assert [name for name in LONGEST if not (TESTS / name).exists()] == []


def test_an_unknown_switch_is_refused():
    with pytest.raises(ValueError, match="unknown switches: latancy"):
        Behaviour().changed({"latancy": 1})


def test_an_impossible_switch_is_refused():
    with pytest.raises(ValueError, match="impossible"):
        Behaviour().changed({"listener": "asleep"})


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("/venv/bin/python3 -m router.process.worker --fd 5", "worker"),
        ("/venv/bin/python3 -m router.control.control --fd 6", "control"),
        ("/venv/bin/python3 -c pass", "other"),
    ],
)
def test_the_role_of_a_child_is_read_from_its_command_line(command: str, role: str):
    assert role_of(command) == role
