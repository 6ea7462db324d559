"""Checks of a mirror's own key and of its throughput, before real servers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.canaries import ASSUMED, ask_completion
from monitor.engine.key_checks import NOT_VERIFIED, check_key
from monitor.engine.metrics import FAMILIES
from monitor.engine.monitor import Monitor
from monitor.engine.prober import Prober
from monitor.health.snapshot import HealthBoard, HealthSnapshot
from monitor.probes.opening import Budget, Opened
from monitor.probes.results import (
    TIMED_OUT,
    Canary,
    KeyCheck,
    Operation,
    StepResult,
    TlsEvidence,
    Transfer,
    Way,
)
from monitor.probes.throughput import LEAST, MOST, TOO_SHORT, UNEXPECTED_STATUS, BulkLimits, measure
from monitor.store.store import Store
from tests.testkit.certs import Authority, Leaf
from tests.testkit.wait import wait_until_async

KEY = "sk-the-mirrors-own"
TIMEOUTS = MonitorTimeouts(connect=10, handshake=10, request=10)
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
QUOTA = b'{"error": {"code": "insufficient_quota"}}'
REGION = b'{"error": {"code": "unsupported_country_region_territory"}}'
ADDRESS = b'{"error": {"message": "IP not authorized"}}'


class Server:
    """Answers requests as it is told, and keeps them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[16:]) for line in head.split(b"\r\n") if b"Content-Length: " in line), 0
            )
            self.requests.append(head + await reader.readexactly(length))
            await self.answer(head, writer)
        writer.transport.abort() if writer.is_closing() else writer.close()


@contextlib.asynccontextmanager
async def serving(answer: Answer, tls: Leaf | None = None) -> AsyncIterator[tuple[Server, int]]:
    shown = Server(answer)
    context = tls.server_context() if tls else None
    server = await asyncio.start_server(shown.handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield shown, server.sockets[0].getsockname()[1]


def saying(status: int, body: bytes, length: int | None = None) -> Answer:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        wanted = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {wanted}\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


@contextlib.asynccontextmanager
async def opened(
    port: int, authority: Authority, *, scheme: str = "https", name: str = "mirror.test"
) -> AsyncIterator[tuple[Opened, MirrorConfig, Way]]:
    mirror = MirrorConfig(
        "m",
        f"{scheme}://mirror.test:{port}/base",
        api_key=KEY,
        bulk_path="/bulk.bin?a=b",
        ca_file=str(authority.ca_file),
    )
    way = Way(name, "127.0.0.1")
    async with contextlib.aclosing(Prober()) as prober:
        async with prober.open(mirror, way, TIMEOUTS, Budget.of(20)) as found:
            yield found, mirror, way


async def key_checked(port: int, authority: Authority, **more: Any) -> KeyCheck:
    async with opened(port, authority, **more) as (found, mirror, way):
        return await check_key(found, mirror, way, "mirrorgate/1", 10)


def models(*names: Any) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


async def test_the_models_of_the_mirrors_own_key_are_listed(authority: Authority):
    async with serving(saying(200, models("a", "b", "a")), authority.issue("alt.test")) as (
        server,
        port,
    ):
        assert await key_checked(port, authority, name="alt.test") == KeyCheck(
            True, ("a", "b"), status=200
        )
    (request,) = server.requests
    assert request.startswith(b"GET /base/v1/models HTTP/1.1\r\n")
    assert f"Host: alt.test:{port}\r\n".encode() in request
    assert f"Authorization: Bearer {KEY}\r\n".encode() in request


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            401,
            b'{"error": {"message": "Incorrect key sk-the"}}',
            KeyCheck(False, status=401, verdict="upstream_key_invalid"),
        ),
        (403, b"{}", KeyCheck(None, status=403)),
        (429, b"{}", KeyCheck(None, status=429)),
        (429, QUOTA, KeyCheck(False, status=429, verdict="upstream_quota")),
        (403, REGION, KeyCheck(False, status=403, verdict="upstream_region_ban")),
        (401, ADDRESS, KeyCheck(False, status=401, verdict="upstream_ip_not_allowed")),
        (200, b"<html>", KeyCheck(None, status=200)),
        (200, b'{"data": {}}', KeyCheck(None, status=200)),
        (200, b"[" * 50000, KeyCheck(None, status=200)),
        (200, models(1, None, "x" * 200, "", "good"), KeyCheck(True, ("good",), status=200)),
    ],
    ids=["401", "403", "429", "quota", "region", "address", "html", "no-list", "deep", "odd-names"],
)
async def test_answers_to_a_mirrors_key_are_classified(
    authority: Authority, status, body, expected
):
    async with serving(saying(status, body), authority.issue("mirror.test")) as (_, port):
        assert await key_checked(port, authority) == expected


async def test_a_list_of_models_is_bounded(authority: Authority):
    body = models(*(f"model-{n}" for n in range(5000)))
    async with serving(saying(200, body), authority.issue("mirror.test")) as (_, port):
        check = await key_checked(port, authority)
    assert (check.valid, check.models) == (True, ()), "a part of a list says nothing of the rest"


async def test_a_page_of_a_list_is_no_list_of_models(authority: Authority):
    body = b'{"object": "list", "data": [{"id": "a"}], "has_more": true}'
    async with serving(saying(200, body), authority.issue("mirror.test")) as (_, port):
        check = await key_checked(port, authority)
    assert (check.valid, check.models) == (True, ())


@pytest.mark.parametrize("fault", ["name", "authority", "plain"])
@pytest.mark.parametrize("ask", [check_key, ask_completion])
async def test_the_key_never_goes_where_the_certificate_is_not_verified(
    authority: Authority, tmp_path: Path, fault, ask
):
    issuing = Authority(tmp_path) if fault == "authority" else authority
    leaf = issuing.issue("other.test" if fault == "name" else "mirror.test", local=False)
    scheme = "http" if fault == "plain" else "https"
    answer = saying(200, models("a"))
    async with serving(answer, None if fault == "plain" else leaf) as (server, port):
        async with opened(port, authority, scheme=scheme) as (found, mirror, way):
            more = ("gpt", "mirrorgate/1", 10) if ask is ask_completion else ("mirrorgate/1", 10)
            result = await ask(found, mirror, way, *more)
    expected = {
        "name": "ssl_invalid_hostname",
        "authority": "ssl_unknown_authority",
        "plain": NOT_VERIFIED,
    }
    assert result.failure == expected[fault]
    assert not server.requests


class Trap:
    """A stream that must not be written to."""

    async def write(self, data: bytes) -> None:
        raise AssertionError("something was sent")

    async def read(self) -> bytes:
        raise AssertionError("something was awaited")

    def unacknowledged(self) -> int:
        return 0


async def test_a_stream_without_a_verified_certificate_is_not_trusted_with_a_key():
    shaken = StepResult(Operation.tls_handshake, None, 0.1, tls=TlsEvidence(verified=False))
    found = Opened((shaken,), Trap())
    mirror = MirrorConfig("m", "https://mirror.test", api_key=KEY)
    way = Way("mirror.test", "127.0.0.1")
    assert (await check_key(found, mirror, way, "a", 1)).failure == NOT_VERIFIED
    assert (await ask_completion(found, mirror, way, "gpt", "a", 1)) == Canary(NOT_VERIFIED)


# --- throughput


async def measured(
    answer: Answer, authority: Authority, limits: BulkLimits, tls: bool = True
) -> tuple[Transfer, list[bytes]]:
    leaf = authority.issue("mirror.test") if tls else None
    async with serving(answer, leaf) as (server, port):
        scheme = "https" if tls else "http"
        async with opened(port, authority, scheme=scheme) as (found, mirror, way):
            assert found.stream is not None
            transfer = await measure(found.stream, mirror, way.hostname, "mirrorgate/1", limits)
    return transfer, server.requests


PATIENT = BulkLimits(whole=30, stall=30)
OF_TLS = 8192
"""Bytes within which a handshake and the headers of records stay."""


@pytest.mark.parametrize("tls", [True, False])
async def test_a_transfer_is_measured_without_a_key(authority: Authority, tls):
    transfer, (request,) = await measured(saying(200, b"x" * 200_000), authority, PATIENT, tls)
    assert (transfer.received, transfer.failure) == (200_000, None)
    assert transfer.goodput > 10_000
    assert request.startswith(b"GET /bulk.bin?a=b HTTP/1.1\r\n")
    assert KEY.encode() not in request
    assert b"authorization" not in request.lower()


async def test_no_more_than_a_mebibyte_is_read(authority: Authority):
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    transfer, _ = await measured(endless, authority, PATIENT)
    assert transfer.failure is None
    assert MOST < transfer.received < MOST + 65536


async def stall_after(size: int, head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * size)
    await writer.drain()
    await asyncio.sleep(30)


async def test_bytes_received_before_a_stall_are_counted(authority: Authority):
    async def freeze(head: bytes, writer: asyncio.StreamWriter) -> None:
        await stall_after(16_000, head, writer)

    transfer, _ = await measured(freeze, authority, BulkLimits(whole=30, stall=0.5))
    assert transfer.failure == TIMED_OUT
    assert 16_000 < transfer.received < 16_000 + OF_TLS


async def test_bytes_received_before_an_early_end_are_counted(authority: Authority):
    transfer, _ = await measured(saying(200, b"x" * 20_000, 99_999), authority, PATIENT)
    assert transfer.failure == "eof_error"
    assert 20_000 < transfer.received < 20_000 + OF_TLS


async def test_a_slow_transfer_ends_in_time_and_its_speed_is_known(authority: Authority):
    async def trickle(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * LEAST)
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.02)

    transfer, _ = await measured(trickle, authority, BulkLimits(whole=1.0, stall=30))
    assert transfer.failure is None
    assert LEAST < transfer.received < MOST
    assert transfer.goodput < 10_000_000


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (saying(404, b"x" * 100_000), UNEXPECTED_STATUS),
        (saying(200, b"x" * 1000), TOO_SHORT),
        (saying(200, b""), TOO_SHORT),
    ],
)
async def test_an_answer_that_shows_no_speed_is_a_named_failure(
    authority: Authority, answer, failure
):
    transfer, _ = await measured(answer, authority, PATIENT)
    assert transfer.failure == failure


# --- canaries


async def sung(answer: Answer, authority: Authority) -> tuple[Canary, list[bytes]]:
    async with serving(answer, authority.issue("mirror.test")) as (server, port):
        async with opened(port, authority) as (found, mirror, way):
            result = await ask_completion(found, mirror, way, "gpt-4o-mini", "mirrorgate/1", 10)
    return result, server.requests


async def test_a_canary_is_a_completion_of_one_token(authority: Authority):
    body = b'{"choices": [{"index": 0}], "usage": {"total_tokens": 9}}'
    result, (request,) = await sung(saying(200, body), authority)
    assert (result.failure, result.status, result.tokens) == (None, 200, 9)
    assert 0 < (result.first_byte or 0) <= result.seconds
    head, _, sent = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /base/v1/chat/completions HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in head
    asked = json.loads(sent)
    assert (asked["model"], asked["max_tokens"]) == ("gpt-4o-mini", 1)


async def test_a_canary_that_is_not_answered_may_have_cost_tokens(authority: Authority):
    async def close(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    result, _ = await sung(close, authority)
    assert (result.failure, result.tokens) == ("eof_error", ASSUMED)


@contextlib.asynccontextmanager
async def monitoring(
    mirror: MirrorConfig, config: MonitorConfig, folder: Path
) -> AsyncIterator[tuple[Monitor, HealthBoard, MetricRegistry]]:
    """A monitor whose clock stands still, whose canaries are due at once, and which soon asks
    again about a key that was refused."""
    store, totals = await Store.open(f"sqlite:///{folder / 'm.db'}"), MetricRegistry(FAMILIES)
    board = HealthBoard("here")
    monitor = Monitor(
        config,
        (mirror,),
        store,
        board,
        totals,
        lambda snapshot: None,
        clock=lambda: 20000 * 86400.0,
        pace=replace(DiagnosisTiming(), canary_interval=0.0, key_confirm=0.1, key_again=0.1),
    )
    await monitor.start()
    try:
        yield monitor, board, totals
    finally:
        await monitor.stop()
        await store.close()


def mirror_at(port: int, authority: Authority, **more: Any) -> MirrorConfig:
    return MirrorConfig(
        "m",
        f"https://mirror.test:{port}",
        addresses=("127.0.0.1",),
        ca_file=str(authority.ca_file),
        **more,
    )


async def test_the_monitor_sends_canaries_within_the_cap_and_only_where_they_are_wanted(
    authority: Authority, tmp_path: Path
):
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        sung = b'{"choices": [{}], "usage": {"total_tokens": 30}}'
        await saying(200, sung if head.startswith(b"POST") else models("a"))(head, writer)

    wanted = MonitorConfig(interval=0.1, canary=True, canary_daily_tokens=100)
    async with serving(answer, authority.issue("mirror.test")) as (server, port):

        def completions() -> int:
            return sum(request.startswith(b"POST") for request in server.requests)

        mirror = mirror_at(port, authority, api_key=KEY)
        unwanted = replace(wanted, canary=False)
        async with monitoring(mirror, unwanted, tmp_path) as (monitor, _, totals):
            await wait_until_async(lambda: len(server.requests) >= 4)
            assert completions() == 0
            monitor.configure(wanted, (mirror,))
            await wait_until_async(lambda: completions() >= 2)
            asked = len(server.requests)
            await wait_until_async(lambda: len(server.requests) >= asked + 4)
    assert completions() == 2
    assert totals.get("mirrorgate_canary_tokens", ("m",)) == 60
    assert totals.get("mirrorgate_probes", ("m", "canary", "ok")) == 2


async def test_probes_do_not_wait_for_a_transfer_that_stalls(authority: Authority, tmp_path: Path):
    transfers: list[asyncio.StreamWriter] = []

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b" /bulk " not in head:
            await saying(200, models("a"))(head, writer)
            return
        transfers.append(writer)
        await stall_after(1000, head, writer)

    async with serving(answer, authority.issue("mirror.test")) as (server, port):
        mirror = mirror_at(port, authority, bulk_path="/bulk")
        async with monitoring(mirror, MonitorConfig(interval=0.1), tmp_path) as _:
            await wait_until_async(lambda: bool(transfers))
            before = len(server.requests)
            await wait_until_async(lambda: len(server.requests) >= before + 3, timeout=4.0)
            assert len(transfers) == 1


async def test_a_refused_key_is_shown_in_the_snapshot(authority: Authority, tmp_path: Path):
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        await saying(401, b'{"error": {"code": "invalid_api_key"}}')(head, writer)

    async with serving(answer, authority.issue("mirror.test")) as (_, port):
        mirror = mirror_at(port, authority, api_key=KEY)
        async with monitoring(mirror, MonitorConfig(interval=0.1), tmp_path) as (_, board, _):
            await wait_until_async(lambda: board.current.of("m").key_refused)
            assert board.current.of("m").in_rotation


async def test_the_models_that_a_mirror_lists_for_its_key_are_known_to_all(
    authority: Authority, tmp_path: Path
):
    async with serving(saying(200, models("a", "b")), authority.issue("mirror.test")) as (_, port):
        mirror = mirror_at(port, authority, api_key=KEY)
        async with monitoring(mirror, MonitorConfig(interval=0.1), tmp_path) as (_, board, _):
            await wait_until_async(lambda: board.current.of("m").models == ("a", "b"))
            snapshot = board.current
    assert HealthSnapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


REFUSED = b'{"error": {"code": "invalid_api_key"}}'


class Gatekeeper:
    """Answers requests with the mirror's key as it is told to, and counts them."""

    def __init__(self) -> None:
        self.good = True
        self.lapses = 0
        """Times that it still says 401 though the key is good."""
        self.checks = 0

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        good = self.good
        if KEY.encode() in head:
            self.checks += 1
            if self.lapses:
                self.lapses, good = self.lapses - 1, False
        await (saying(200, models("a")) if good else saying(401, REFUSED))(head, writer)


@contextlib.asynccontextmanager
async def guarded_by(
    keeper: Gatekeeper, authority: Authority, tmp_path: Path
) -> AsyncIterator[tuple[Monitor, HealthBoard]]:
    """A monitor of the mirror that it keeps; no regular probe comes within the time of a test."""
    async with serving(keeper, authority.issue("mirror.test")) as (_, port):
        mirror = mirror_at(port, authority, api_key=KEY)
        async with monitoring(mirror, MonitorConfig(interval=600), tmp_path) as (monitor, board, _):
            yield monitor, board


async def test_a_key_is_checked_at_once_when_traffic_is_refused_and_used_again_soon(
    authority: Authority, tmp_path: Path
):
    keeper = Gatekeeper()
    async with guarded_by(keeper, authority, tmp_path) as (monitor, board):
        await wait_until_async(lambda: board.current.of("m").models == ("a",))
        keeper.good = False
        monitor.hear({"type": "failures", "mirrors": [], "keys": ["m"], "paths": []})
        await wait_until_async(lambda: board.current.of("m").key_refused)
        assert keeper.checks == 2, "a refusal in traffic and one of a probe are proof enough"
        keeper.good = True
        await wait_until_async(lambda: not board.current.of("m").key_refused)
        assert board.current.of("m").in_rotation


async def test_one_refusal_of_a_probe_takes_no_key_out_of_use(authority: Authority, tmp_path: Path):
    keeper = Gatekeeper()
    keeper.lapses = 1
    seen: list[bool] = []
    async with guarded_by(keeper, authority, tmp_path) as (_, board):

        def listed() -> bool:
            seen.append(board.current.of("m").key_refused)
            return board.current.of("m").models == ("a",)

        await wait_until_async(listed)
    assert keeper.checks == 2
    assert not any(seen)


async def test_key_failures_of_an_unknown_mirror_are_ignored(authority: Authority, tmp_path: Path):
    keeper = Gatekeeper()
    async with guarded_by(keeper, authority, tmp_path) as (monitor, board):
        await wait_until_async(lambda: board.current.of("m").models == ("a",))
        monitor.hear({"type": "failures", "mirrors": [], "keys": ["gone"], "paths": []})
        assert "gone" not in board.current.mirrors
