"""Fixtures of every test: a certificate authority, pretend mirrors, instances of mirrorgate."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest
from hypothesis import HealthCheck, settings

from monitor.store.store import Store
from tests.e2e.clients.entrance import Entrance
from tests.testkit.certs import Authority
from tests.testkit.farm import Farm, TlsMirror, config_for
from tests.testkit.instance import Instance
from tests.testkit.mirror.server import PretendMirror
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.programs import summary

STARTED = pytest.StashKey[list["HasLogs"]]()
"""What a test started by itself and whose log belongs to a report of its failure."""

SHOWN_LINES = 300

TESTS = Path(__file__).parent

# Where CI is set a change is judged, by the same examples every time; elsewhere new ones are found.
settings.register_profile(
    "any machine",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

StartInstance = Callable[[Mapping[str, Any] | str], Instance]
StartMirror = Callable[..., Awaitable[PretendMirror]]


@runtime_checkable
class HasLogs(Protocol):
    """Something with a log, such as an instance or a farm."""

    def logs(self) -> str: ...


LONGEST = (
    "e2e/test_blocked_name.py",
    "e2e/test_keys_e2e.py",
    "e2e/test_apps.py",
    "e2e/test_history_e2e.py",
    "e2e/test_failover_sdk.py",
    "e2e/test_limits_e2e.py",
    "e2e/test_guide.py",
    "e2e/test_stuck_locks.py",
    "e2e/test_desk.py",
    "integration/test_diagnosis_lab.py",
    "integration/test_diagnosis_matrix.py",
    "e2e/test_processes.py",
    "e2e/test_bans_e2e.py",
    "e2e/test_secrets.py",
    "e2e/test_secrets_issued.py",
    "e2e/test_secrets_quoted.py",
    "e2e/test_ledger.py",
    "e2e/test_keys_carriers.py",
    "e2e/test_legacy_e2e.py",
    "integration/test_dashboard_desk.py",
    "integration/test_compile.py",
    "integration/test_testkit_netns.py",
    "integration/test_tunnel_ends.py",
    "integration/test_malformed_requests.py",
    "integration/test_ejections.py",
    "integration/test_grafana.py",
    "integration/test_store_transfer.py",
    "e2e/test_front_proxies.py",
)
"""The files that take longest, longest first. Who runs files side by side begins with them."""


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length, for compressed ones differ from one process to the next.

    Every process of xdist collects by itself, and all must find the same names.
    """
    if isinstance(val, bytes) and not val.isascii():
        return f"{len(val)}-bytes"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, then the folders from the slowest to the fastest."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, int]:
    path = item.path.relative_to(TESTS) if item.path.is_relative_to(TESTS) else item.path
    folders = ("e2e", "integration")
    return (
        LONGEST.index(str(path)) if str(path) in LONGEST else len(LONGEST),
        folders.index(path.parts[0]) if path.parts[0] in folders else len(folders),
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of the test run."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server of the test run."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of ours, once in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.upgraded()


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """The same, open."""
    opened = await Store.open(store_url)
    yield opened
    await opened.close()


@pytest.fixture
async def start_mirror() -> AsyncIterator[StartMirror]:
    """Start pretend mirrors in the loop of the test; they stop after it."""
    async with AsyncExitStack() as stack:

        async def start(name: str = "mirror", **options: Any) -> PretendMirror:
            return await stack.enter_async_context(PretendMirror(name, **options))

        yield start


@pytest.fixture
def start_instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartInstance]:
    """Start instances of mirrorgate that stop after the test; a failure shows their logs."""
    started: list[HasLogs] = []
    request.node.stash[STARTED] = started
    with ExitStack() as stack:

        def start(config: Mapping[str, Any] | str) -> Instance:
            instance = Instance(config, tmp_path / f"instance-{len(started) + 1}")
            started.append(instance)
            return stack.enter_context(instance)

        yield start


@pytest.fixture(scope="session")
def tls_mirrors(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TlsMirror, ...]]:
    """Three pretend mirrors behind nginx, which the journeys share and leave as they are."""
    with Farm(tmp_path_factory.mktemp("farm"), authority, instance=False) as farm:
        yield tuple(farm.mirrors)


@pytest.fixture(scope="session")
def journey_instance(
    tls_mirrors: tuple[TlsMirror, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """A mirrorgate with two workers in front of these mirrors."""
    config = config_for(tls_mirrors)
    with Instance(config, tmp_path_factory.mktemp("journeys") / "instance") as instance:
        yield instance


@pytest.fixture(scope="session")
def journey_tls_instance(
    authority: Authority,
    tls_mirrors: tuple[TlsMirror, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Instance]:
    """The same, with TLS for its clients too."""
    leaf, config = authority.issue("gate.test"), config_for(tls_mirrors)
    config["router"] |= {"tls_cert": str(leaf.cert_file), "tls_key": str(leaf.key_file)}
    with Instance(config, tmp_path_factory.mktemp("journeys-tls") / "instance") as instance:
        yield instance


@pytest.fixture(params=["mirror", "router", "router-tls"])
def entrance(
    request: pytest.FixtureRequest, tls_mirrors: tuple[TlsMirror, ...], authority: Authority
) -> Entrance:
    """First a mirror itself, which proves the journey, then mirrorgate, which it is for."""
    name: str = request.param
    if name == "mirror":
        first = tls_mirrors[0]
        return Entrance(name, first.base_url, (first,), authority.ca_file)
    fixture = "journey_tls_instance" if name == "router-tls" else "journey_instance"
    instance: Instance = request.getfixturevalue(fixture)
    ca_file = authority.ca_file if name == "router-tls" else None
    return Entrance(name, instance.base_url, tls_mirrors, ca_file, log=instance.logs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the logs of everything that a failed test ran."""
    report = yield
    if report.failed:
        arguments = getattr(item, "funcargs", {})
        sources = [*item.stash.get(STARTED, []), *arguments.values()]
        for source in sources:
            if isinstance(source, HasLogs) and not isinstance(source, type):
                lines = source.logs().splitlines()[-SHOWN_LINES:]
                report.sections.append((f"log of {source!r}", "\n".join(lines)))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Say in the very last line, after pytest's own, which programs were missing."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not isinstance(reporter, pytest.TerminalReporter):
        return
    skipped = reporter.getreports("skipped")
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if line := summary(reasons):
        reporter.write_line(line, yellow=True)
