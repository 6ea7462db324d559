"""DNS over HTTPS (RFC 8484): messages that nobody on the way can read or forge."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from monitor.probes.dns_messages import MAX_MESSAGE, NotAReply, Question
from monitor.probes.results import DnsReply
from monitor.probes.system_resolver import SystemResolver

_TYPE = "application/dns-message"
_CONNECTIONS = 4


class HttpsResolver:
    """One DoH server; its connections are opened when they are needed and kept."""

    def __init__(self, url: str, system: SystemResolver, trust: ssl.SSLContext | None) -> None:
        self._url = url
        self._system = system
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, question: Question, timeout: float) -> DnsReply:
        """The reply. Raises OSError, EOFError, NotAReply.

        A kept connection that the server has closed meanwhile is replaced once.
        """
        started = time.perf_counter()
        async with asyncio.timeout(timeout):
            try:
                data = await self._post(question.wire)
            except EOFError:
                data = await self._post(question.wire)
        return question.reply(data, time.perf_counter() - started)[0]

    async def aclose(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, message: bytes) -> bytes:
        if self._session is None:
            self._session = self._new_session()
        headers = {"Content-Type": _TYPE, "Accept": _TYPE}
        try:
            async with self._session.post(
                self._url, data=message, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200 or response.content_type != _TYPE:
                    raise NotAReply
                return await _bounded(response.content)
        except aiohttp.ClientConnectorCertificateError as error:
            raise error.certificate_error from error
        except aiohttp.ServerDisconnectedError as error:
            raise EOFError from error
        except aiohttp.ClientError as error:
            if isinstance(error, OSError):
                raise
            raise NotAReply from error

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=_CONNECTIONS,
            ssl=True if self._trust is None else self._trust,
            resolver=_SystemNames(self._system),
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    data = b""
    while piece := await content.read(MAX_MESSAGE + 1 - len(data)):
        data += piece
        if len(data) > MAX_MESSAGE:
            raise NotAReply
    return data


class _SystemNames(AbstractResolver):
    """The system's resolver in aiohttp's words, for the name of the DoH server itself."""

    def __init__(self, system: SystemResolver) -> None:
        self._system = system

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name; whoever asks for the message limits the time."""
        found = await self._system.addresses(host, timeout=60.0)
        return [_result(host, port, address) for address in found]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
    )
