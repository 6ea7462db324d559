"""Handshakes of every kind and their evidence of the network, with real sockets and real TLS."""

import asyncio
import contextlib
import datetime
import hashlib
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from monitor.common.config import MonitorTimeouts
from monitor.probes import certificate
from monitor.probes.results import Operation, StepResult, TlsEvidence
from monitor.probes.tls import TlsContexts
from monitor.probes.trial_results import Outcome, Role, outcome_of
from monitor.probes.trials import Attempt, Subject, attempt
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import (
    BLOCK_PAGE,
    DROP,
    FIN,
    RST,
    RST_MID,
    Action,
    Rule,
    alert,
    exactly,
)
from tests.testkit.certs import Authority, Leaf
from tests.testkit.ports import free_port

PATIENT = MonitorTimeouts(connect=10, handshake=10)
HASTY = MonitorTimeouts(connect=10, handshake=0.5)


class TlsServer:
    """Completes handshakes and keeps what is sent to it afterwards."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.handshakes = 0
        self.names: list[str | None] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes += 1
        with contextlib.suppress(OSError, ssl.SSLError):
            self.received += await reader.read()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(leaf: Leaf) -> AsyncIterator[tuple[TlsServer, int]]:
    shown = TlsServer()
    context = leaf.server_context()

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        shown.names.append(name)

    context.sni_callback = note
    server = await asyncio.start_server(shown.handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield shown, server.sockets[0].getsockname()[1]


async def trial(
    role: Role,
    port: int,
    authority: Authority,
    *,
    hostname: str = "mirror.test",
    timeouts: MonitorTimeouts = PATIENT,
) -> Attempt:
    ca_file = str(authority.ca_file)
    subject = Subject(hostname, "127.0.0.1", port, ca_file, elsewhere="127.0.0.1")
    return await attempt(role, subject, "control.test", TlsContexts(), timeouts)


def evidence(step: StepResult | None) -> TlsEvidence:
    assert step is not None
    assert step.operation is Operation.tls_handshake
    assert step.tls is not None
    return step.tls


async def test_each_role_sends_its_own_name_and_nothing_after_the_handshake(authority: Authority):
    async with serving(authority.issue("mirror.test")) as (server, port):
        sent = {}
        for role in Role:
            made = await trial(role, port, authority)
            assert made.decisive.failure is None, role
            assert outcome_of(made.decisive) is Outcome.hello
            assert (made.decisive.hostname, made.decisive.sni) == ("mirror.test", made.sni)
            sent[role] = made.sni
        assert sent == {
            Role.target: "mirror.test",
            Role.control: "control.test",
            Role.no_sni: "",
            Role.not_tls: "",
            Role.elsewhere: "mirror.test",
        }
        assert server.names == ["mirror.test", "control.test", None, "mirror.test"]
        assert not server.received


async def test_an_address_is_verified_but_never_sent_as_a_name(authority: Authority):
    async with serving(authority.issue()) as (server, port):
        made = await trial(Role.target, port, authority, hostname="127.0.0.1")
        assert (made.decisive.failure, made.sni) == (None, "")
        assert evidence(made.shake).verified
        assert server.names == [None]


async def test_a_good_handshake_shows_times_and_the_certificate(authority: Authority):
    leaf = authority.issue("mirror.test", "*.alt.test")
    async with serving(leaf) as (_, port):
        made = await trial(Role.target, port, authority)
    seen = evidence(made.shake)
    assert seen.verified
    assert 0 < (seen.first_byte or 0) <= (seen.since_hello or 0) < 10
    assert 0 < made.connect.seconds < 10
    assert seen.received > 100
    assert seen.sha256 == fingerprint(leaf)
    assert set(seen.subject_names) >= {"mirror.test", "*.alt.test", "127.0.0.1"}
    assert seen.issuer.startswith("trustme")


def fingerprint(leaf: Leaf) -> str:
    first = leaf.cert_file.read_text().split("-----END CERTIFICATE-----")[0]
    der = ssl.PEM_cert_to_DER_cert(first + "-----END CERTIFICATE-----\n")
    return hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize(
    ("fault", "failure", "code"),
    [
        ("name", "ssl_invalid_hostname", 62),
        ("authority", "ssl_unknown_authority", 20),
        ("expired", "ssl_invalid_certificate", 10),
    ],
)
async def test_a_refused_certificate_is_known_all_the_same_from_one_handshake(
    authority: Authority, tmp_path: Path, fault, failure, code
):
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    issuing = Authority(tmp_path) if fault == "authority" else authority
    names = ("other.test",) if fault == "name" else ("mirror.test",)
    leaf = issuing.issue(*names, local=False, not_after=past if fault == "expired" else None)
    async with serving(leaf) as (server, port):
        made = await trial(Role.target, port, authority)
        assert len(server.names) == 1
        assert not server.received
    seen = evidence(made.shake)
    assert (made.decisive.failure, seen.verify_code, seen.verified) == (failure, code, False)
    assert seen.sha256 == fingerprint(leaf)
    assert seen.subject_names == names
    assert seen.not_after is not None
    assert outcome_of(made.decisive) is Outcome.certificate


async def test_a_control_takes_any_certificate_but_never_calls_it_verified(
    authority: Authority, tmp_path: Path
):
    leaf = Authority(tmp_path).issue("someone-else.test", local=False)
    async with serving(leaf) as (server, port):
        made = await trial(Role.control, port, authority)
        assert not server.received
    assert made.decisive.failure is None
    assert not evidence(made.shake).verified
    assert evidence(made.shake).sha256 == fingerprint(leaf)


@pytest.mark.parametrize(
    ("action", "failure", "outcome", "received"),
    [
        (RST, "connection_reset", Outcome.reset, 0),
        (FIN, "eof_error", Outcome.eof, 0),
        (DROP, "generic_timeout_error", Outcome.silence, 0),
        (RST_MID, "connection_reset", Outcome.late, 80),
        (alert(112), "ssl_failed_handshake", Outcome.alert, 7),
        (BLOCK_PAGE, "ssl_failed_handshake", Outcome.plain, None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_interference_with_one_name_is_classified_and_spares_the_control_name(
    authority: Authority, action: Action, failure, outcome, received
):
    leaf = authority.issue("mirror.test")
    async with serving(leaf) as (_, upstream), Censor() as censor:
        censor.rules = (Rule(exactly("mirror.test"), action),)
        port = await censor.listen(("127.0.0.1",), upstream=("127.0.0.1", upstream))
        timeouts = HASTY if action is DROP else PATIENT
        made = await trial(Role.target, port, authority, timeouts=timeouts)
        control = await trial(Role.control, port, authority)
    seen = evidence(made.shake)
    assert (made.decisive.failure, outcome_of(made.decisive)) == (failure, outcome)
    assert seen.since_hello is not None
    assert not seen.verified
    if received is not None:
        assert seen.received == received
    if action is BLOCK_PAGE:
        assert b"This site has been blocked" in seen.first_bytes
    if outcome is Outcome.alert:
        assert seen.alert == 112
    assert seen.round_trip is not None
    assert 0 < seen.round_trip < made.connect.seconds
    assert (control.decisive.failure, outcome_of(control.decisive)) == (None, Outcome.hello)


async def test_any_data_is_reset_where_the_whole_port_is_blocked(authority: Authority):
    async with serving(authority.issue("mirror.test")) as (_, upstream), Censor() as censor:
        censor.rules = (Rule(lambda read: True, RST),)
        port = await censor.listen(("127.0.0.1",), upstream=("127.0.0.1", upstream))
        for role in Role:
            made = await trial(role, port, authority)
            assert made.decisive.failure == "connection_reset", role
            assert outcome_of(made.decisive) is Outcome.reset


async def test_a_closed_port_is_not_a_handshake(authority: Authority):
    made = await trial(Role.target, free_port(), authority)
    assert made.shake is None
    assert (made.decisive.operation, made.decisive.failure) == (
        Operation.connect,
        "connection_refused",
    )
    assert outcome_of(made.decisive) is Outcome.unreached


@pytest.fixture(params=["as it is", "private attribute missing", "private attribute different"])
def privates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """True if the private object beneath an SSLObject gives out what it has."""
    names = {"private attribute missing": "_no_such", "private attribute different": "context"}
    if request.param in names:
        monkeypatch.setattr(certificate, "_BENEATH", names[request.param])
    return request.param not in names


async def test_certificate_evidence_is_read_by_public_interfaces_only(
    authority: Authority, privates: bool
):
    leaf = authority.issue("mirror.test")
    async with serving(leaf) as (_, port):
        seen = evidence((await trial(Role.target, port, authority)).shake)
    assert seen.verified
    assert seen.sha256 == fingerprint(leaf)
    assert seen.issuer.startswith("trustme")
    assert "mirror.test" in seen.subject_names
    assert seen.not_after is not None


async def test_a_refused_certificate_is_refused_alike_where_less_of_it_can_be_seen(
    authority: Authority, privates: bool
):
    leaf = authority.issue("other.test")
    async with serving(leaf) as (_, port):
        made = await trial(Role.target, port, authority)
    seen = evidence(made.shake)
    assert made.decisive.failure == "ssl_invalid_hostname"
    assert (seen.verified, seen.verify_code) == (False, 62)
    public = sys.version_info >= (3, 13)
    assert seen.sha256 == (fingerprint(leaf) if privates or public else "")
    assert ("other.test" in seen.subject_names) == privates


def test_the_public_bytes_of_a_refused_certificate_are_used_where_there_are_some():
    class Newer:
        """An SSLObject of Python 3.13 after a handshake that failed, without its private part."""

        def getpeercert(self, binary_form: bool = False) -> None:
            raise ValueError("handshake not done yet")

        def get_unverified_chain(self) -> list[bytes]:
            return [b"leaf", b"root"]

    shown = certificate.certificate_of(cast(ssl.SSLObject, Newer()))
    assert shown == certificate.Certificate(hashlib.sha256(b"leaf").hexdigest())
