"""A start that cannot succeed: one sentence, the right exit code, and nothing left behind."""

import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.common.compiled import FORM, PACKAGE
from tests.testkit.instance import Config, Instance
from tests.testkit.ports import free_port
from tests.testkit.processes import REPOSITORY
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

MIRROR = {"id": "alpha", "url": "http://127.0.0.1:9", "allow_private": True}
MARK = "MIRRORGATE_TEST_MARK"

NewInstance = Callable[[Config], Instance]


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def new_instance(tmp_path: Path, mark: str) -> Iterator[NewInstance]:
    """Make instances that are not started; all processes of the test carry its mark."""
    made: list[Instance] = []

    def make(config: Config) -> Instance:
        folder = tmp_path / f"instance-{len(made) + 1}"
        made.append(Instance({"mirrors": [MIRROR], **config}, folder, env={MARK: mark}))
        return made[-1]

    yield make
    for instance in made:
        instance.close()
    assert not processes_with(mark)


def test_a_compiled_form_that_cannot_be_used_is_told_once_and_the_sources_run(tmp_path: Path):
    broken = tmp_path / "installed" / PACKAGE
    broken.mkdir(parents=True)
    (broken / "__init__.py").touch()
    path = os.pathsep.join((str(REPOSITORY), str(broken.parent)))
    env = {FORM: "", "PYTHONPATH": path}
    with Instance({"mirrors": [MIRROR]}, tmp_path / "instance", env=env) as instance:
        assert ", pure, " in instance.command("status", check=True).stdout
        said = [line for line in instance.logs().splitlines() if "make fast" in line]
    assert len(said) == 1, said
    assert " warning supervisor: running from source: the compiled form cannot be used" in said[0]


def processes_with(mark: str) -> list[int]:
    """Return the processes that were started with the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass  # no process, or gone
    return found


def fails(instance: Instance, code: int) -> str:
    """Run it; return the one line of its failure, without its beginning.

    That workers are ready before control, on a slow machine, they may tell too.
    """
    socket_existed = os.path.exists(instance.config["admin"]["socket"])
    ran = instance.command("run", timeout=60)
    assert ran.returncode == code, ran.stderr
    assert re.fullmatch(r"(mirrorgate \S+ is starting with \S+\n)?", ran.stdout)
    said = [line for line in ran.stderr.splitlines() if "control is still starting" not in line]
    assert len(said) == 1, ran.stderr
    assert os.path.exists(instance.config["admin"]["socket"]) == socket_existed
    return said[0].removeprefix("mirrorgate: ")


@pytest.mark.parametrize("section", ["router", "dashboard", "admin"])
def test_a_busy_port_is_named_with_its_setting(new_instance: NewInstance, mark: str, section: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = fails(new_instance({section: {"listen": f"127.0.0.1:{port}"}}), 1)
    assert said == f"port {port} is in use: set {section}.listen, or stop what uses it"
    assert not processes_with(mark)


def test_an_address_of_another_machine_is_named_with_its_setting(new_instance: NewInstance):
    said = fails(new_instance({"router": {"listen": "192.0.2.1:8080"}}), 1)
    assert said.startswith("cannot listen on 192.0.2.1:8080 (")
    assert said.endswith("): set router.listen")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"router": {"workrs": 2}}, 'router.workrs: unknown setting, did you mean "workers"?'),
        ({"mirrors": [{**MIRROR, "ca_file": "nowhere.pem"}]}, "mirrors[0].ca_file: cannot read"),
        ({"mirrors": [{**MIRROR, "api_key": "file:no.key"}]}, "mirrors[0].api_key: cannot read"),
        ({"router": {"tls_cert": "a.pem"}}, "router.tls_key: is required"),
    ],
)
def test_a_bad_file_is_a_usage_fault_with_the_path_of_the_setting(
    new_instance: NewInstance, config: dict[str, Any], said: str
):
    assert fails(new_instance(config), 2).startswith(said)


def test_a_missing_file_is_said_with_what_to_do(new_instance: NewInstance):
    instance = new_instance({})
    instance.config_file.unlink()
    assert "does not exist: write it with `mirrorgate init URL`" in fails(instance, 2)


def test_a_store_that_cannot_be_opened_is_one_sentence(
    new_instance: NewInstance, tmp_path: Path, mark: str
):
    (tmp_path / "file").write_text("no folder")
    said = fails(new_instance({"store": {"url": f"sqlite:///{tmp_path}/file/x.db"}}), 1)
    assert said.startswith(f"store.url: {tmp_path}/file/x.db cannot be opened: ")
    assert not processes_with(mark)


def test_a_store_that_is_no_database_is_one_sentence(new_instance: NewInstance, tmp_path: Path):
    (tmp_path / "x.db").write_text("this is not a database, however long it may be" * 100)
    said = fails(new_instance({"store": {"url": f"sqlite:///{tmp_path}/x.db"}}), 1)
    assert said.startswith("store.url: ")
    assert said.count("store.url") == 1


def test_a_socket_in_no_folder_is_one_sentence(new_instance: NewInstance):
    said = fails(new_instance({"admin": {"socket": "/nowhere/mirrorgate.sock"}}), 1)
    assert said.startswith("cannot open /nowhere/mirrorgate.sock (")
    assert said.endswith("): set admin.socket")


def test_a_second_instance_is_refused_and_the_first_goes_on(new_instance: NewInstance):
    first = new_instance({})
    first.start()
    name, listen = first.config["admin"]["socket"], first.config["router"]["listen"]
    running = f"mirrorgate is already running (pid {first.pid}) and answers at {name}: "
    assert fails(first, 1).startswith(running)
    assert fails(new_instance({"admin": {"socket": name}}), 1).startswith(running)
    said = fails(new_instance({"router": {"listen": listen}}), 1)
    port = listen.rpartition(":")[2]
    assert said == f"port {port} is in use: set router.listen, or stop what uses it"
    assert first.command("status").returncode == 0
    assert first.stop() == 0
    assert re.search(r"info supervisor: stopped after \d+ s\n$", first.logs())


def test_a_stop_during_the_start_leaves_nothing(new_instance: NewInstance, mark: str):
    instance = new_instance({"router": {"workers": 2, "listen": f"127.0.0.1:{free_port()}"}})
    instance.launch()
    wait_until(lambda: len(processes_with(mark)) > 1, 20, "children to be there")
    instance.stop()
    assert not processes_with(mark)
    assert not os.path.exists(instance.config["admin"]["socket"])
