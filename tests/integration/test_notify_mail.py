"""Messages by e-mail, at a real SMTP server."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from monitor.common.settings import read
from monitor.notify.config import NotifyConfig
from monitor.notify.message import Message
from monitor.notify.receiver import Transport
from tests.testkit.certs import Authority
from tests.testkit.ports import free_port

MESSAGE = Message(
    "🔴 [状态页 here]", ("11-29 15:06:40 CST 香港 不可用。", "."), "here", 1_764_400_000.0
)


class Mailbox:
    """Takes mail, or answers it with this."""

    def __init__(self) -> None:
        self.answer = "250 taken"
        self.mails: list[EmailMessage] = []
        self.logins: list[bytes] = []
        self.unknown = ""

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self.unknown:
            return "550 no such user, p/w"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.answer.startswith("2"):
            assert isinstance(envelope.content, bytes)
            self.mails.append(BytesParser(policy=default).parsebytes(envelope.content))
        return self.answer

    def allow(self, server: Any, session: Any, envelope: Any, method: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login + b":" + data.password)
        return AuthResult(success=data.password == b"p/w", handled=False)


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port(mailbox: Mailbox, authority: Authority) -> Iterator[int]:
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=authority.issue("localhost").server_context(),
        authenticator=mailbox.allow,
        auth_required=True,
    )
    controller.start()
    yield controller.port
    controller.stop()


def to(port: int, password: str = "p%2Fw", host: str = "localhost") -> NotifyConfig:
    return read(
        NotifyConfig,
        {
            "url": f"smtp://me%40example.com:{password}@{host}:{port}",
            "format": "email",
            "to": ["ops@example.com", "boss@example.com"],
        },
    )


async def test_a_mail_goes_out_over_tls_with_the_password_and_reads_as_it_was_written(
    mailbox: Mailbox, port: int, trust: ssl.SSLContext
):
    outcome = await Transport(trust).send(MESSAGE, to(port))
    assert outcome.problem == ""
    (mail,) = mailbox.mails
    assert mail["Subject"] == "🔴 [状态页 here] 11-29 15:06:40 CST 香港 不可用。"
    assert mail["To"] == "ops@example.com, boss@example.com"
    assert mail["From"] == "ops@example.com"
    assert mail.get_content().split() == [
        "11-29",
        "15:06:40",
        "CST",
        "香港",
        "不可用。",
        ".",
    ]
    assert mailbox.logins == [b"me@example.com:p/w"]


async def test_a_mailbox_that_is_refused_beside_others_is_named_and_nobody_gets_it_twice(
    mailbox: Mailbox, port: int, trust: ssl.SSLContext
):
    mailbox.unknown = "boss@example.com"
    outcome = await Transport(trust).send(MESSAGE, to(port))
    assert outcome.problem == "boss@example.com: SMTP 550: no such user, …"
    assert (outcome.permanent, len(mailbox.mails)) == (True, 1)


async def test_another_attempt_has_the_same_message_id(
    mailbox: Mailbox, port: int, trust: ssl.SSLContext
):
    for message in (MESSAGE, MESSAGE, replace(MESSAGE, at=MESSAGE.at + 1)):
        await Transport(trust).send(message, to(port))
    first, again, other = (mail["Message-ID"] for mail in mailbox.mails)
    assert first == again != other


@pytest.mark.parametrize(
    ("answer", "permanent"), [("451 later", False), ("554 refused as spam", True)]
)
async def test_a_refusal_says_if_it_is_for_good(
    mailbox: Mailbox, port: int, trust: ssl.SSLContext, answer: str, permanent: bool
):
    mailbox.answer = answer
    outcome = await Transport(trust).send(MESSAGE, to(port))
    assert (outcome.problem, outcome.permanent) == (f"SMTP {answer[:3]}: {answer[4:]}", permanent)


async def test_a_wrong_password_and_a_stranger_s_certificate_are_said_without_secrets(
    mailbox: Mailbox, port: int, trust: ssl.SSLContext
):
    wrong = await Transport(trust).send(MESSAGE, to(port, "wr0ng"))
    assert (wrong.permanent, "SMTP 535" in wrong.problem) == (True, True)
    strange = await Transport().send(MESSAGE, to(port))
    assert "CERTIFICATE_VERIFY_FAILED" in strange.problem
    assert not mailbox.mails
    assert "wr0ng" not in wrong.problem
    assert set(mailbox.logins) == {b"me@example.com:wr0ng"}


async def test_a_server_that_is_not_there_is_tried_again():
    outcome = await Transport().send(MESSAGE, to(9))
    assert (outcome.permanent, "refused" in outcome.problem) == (False, True)
