"""Messages by e-mail: SMTP with STARTTLS, or over TLS from the start."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
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
                return _hand_over(server, mail, config)
        with smtplib.SMTP(host, port, timeout=TIMEOUT) as server:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=trust)
            elif host not in _LOCAL:
                return Outcome(f"{host} does not offer STARTTLS", permanent=True)
            return _hand_over(server, mail, config)
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        return _refused(code, words, config)
    except smtplib.SMTPResponseException as error:
        return _refused(error.smtp_code, error.smtp_error, config)
    except smtplib.SMTPNotSupportedError as error:
        return Outcome(str(error), permanent=True)
    except (OSError, smtplib.SMTPException) as error:
        return Outcome(config.without_secrets(f"{type(error).__name__}: {error}")[:200])


def _hand_over(server: smtplib.SMTP, mail: EmailMessage, config: NotifyConfig) -> Outcome:
    url = urlsplit(config.url)
    if url.username:
        server.login(unquote(url.username), unquote(url.password or ""))
    refused = server.send_message(mail)
    if not refused:
        return Outcome()
    # the other mailboxes have it, so it is not sent again
    box, (code, words) = next(iter(refused.items()))
    return Outcome(f"{box}: {_refused(code, words, config).problem}", permanent=True)


def _mail(message: Message, config: NotifyConfig) -> EmailMessage:
    mail = EmailMessage()
    sender = config.sender or config.to[0]
    mail["From"], mail["To"] = sender, ", ".join(config.to)
    first = message.lines[0] if message.lines else ""
    mail["Subject"] = f"{message.title} {first}"[:150].rstrip()
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail["Message-ID"] = _message_id(mail, message, sender)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
    mail.set_content("\n\n".join(message.lines) + "\n")
    return mail


def _message_id(mail: EmailMessage, message: Message, sender: str) -> str:
    """The same for each attempt: mailboxes drop what comes again after a lost answer."""
    told = f"{message.at} {mail['To']} {message.text}".encode("utf-8", "replace")
    return f"<{hashlib.sha256(told).hexdigest()[:32]}@{sender.rpartition('@')[2]}>"


def _refused(code: int, words: bytes | str, config: NotifyConfig) -> Outcome:
    said = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    said = config.without_secrets(said)
    return Outcome(f"SMTP {code}: {' '.join(said.split())[:200]}", permanent=code >= 500)
