"""Messages by e-mail: SMTP with STARTTLS, or over TLS from the start."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import unquote, urlsplit

from monitor.notify.config import NotifyConfig
from monitor.notify.formats import Outcome
from monitor.notify.message import Message

TIMEOUT = 15.0
"""Seconds for each step of the conversation."""
_PORTS = {"smtp": 587, "smtps": 465}
_LOCAL = ("localhost", "127.0.0.1", "::1")


def send(message: Message, config: NotifyConfig, trust: ssl.SSLContext) -> Outcome:
    """Send it. Blocks.

    A server that offers no STARTTLS gets no password, and no mail unless it is on this machine.
    """
    url = urlsplit(config.url)
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    mail = _mail(message, config)
    try:
        if url.scheme == "smtps":
            with smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=trust) as server:
                return _hand_over(server, mail, url.username, url.password)
        with smtplib.SMTP(host, port, timeout=TIMEOUT) as server:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=trust)
            elif host not in _LOCAL:
                return Outcome(f"{host} does not offer STARTTLS", permanent=True)
            return _hand_over(server, mail, url.username, url.password)
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        return _refused(code, words)
    except smtplib.SMTPResponseException as error:
        return _refused(error.smtp_code, error.smtp_error)
    except smtplib.SMTPNotSupportedError as error:
        return Outcome(str(error), permanent=True)
    except (OSError, smtplib.SMTPException) as error:
        return Outcome(f"{type(error).__name__}: {error}"[:200])


def _hand_over(
    server: smtplib.SMTP, mail: EmailMessage, user: str | None, password: str | None
) -> Outcome:
    if user:
        server.login(unquote(user), unquote(password or ""))
    server.send_message(mail)
    return Outcome()


def _mail(message: Message, config: NotifyConfig) -> EmailMessage:
    mail = EmailMessage()
    sender = config.sender or config.to[0]
    mail["From"], mail["To"] = sender, ", ".join(config.to)
    first = message.lines[0] if message.lines else ""
    mail["Subject"] = f"{message.title} {first}"[:150].rstrip()
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
    mail.set_content("\n\n".join(message.lines) + "\n")
    return mail


def _refused(code: int, words: bytes | str) -> Outcome:
    said = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return Outcome(f"SMTP {code}: {' '.join(said.split())[:200]}", permanent=code >= 500)
