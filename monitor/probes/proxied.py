"""Connections through a proxy of the operator's, to see a mirror from another place.

python-socks speaks SOCKS5 and HTTP CONNECT and hands the connected socket over, which probes then
use as any other. Only probes come here: never a request of a client, never a key.
"""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.parse import urlsplit

from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio import Proxy

from monitor.probes.connect import Dial, connect
from monitor.probes.failures import UNKNOWN
from monitor.probes.results import TIMED_OUT, Operation, StepResult

_SOCKS = {
    1: UNKNOWN,
    3: "network_unreachable",
    4: "host_unreachable",
    5: "connection_refused",
    6: "timed_out",
}
"""Replies about the target (RFC 1928 section 6); others are about us."""
_HTTP = {502: UNKNOWN, 503: UNKNOWN, 504: "timed_out"}
"""Statuses of CONNECT that speak of the target (RFC 9110 section 15.6)."""


_GREETING = b"\x05\x02\x00\x02"
"""Without a password, or with one (RFC 1928 section 3); the answer is one method, or none."""
_NO_METHOD = b"? HTTP/1.1\r\n\r\n"
"""No request: it is answered with 400, and names no target."""
MAX_WORDS = 100
"""Characters of what a proxy says of its refusal that are shown."""


class VantageDown(Exception):
    """The proxy cannot be used, which says nothing about the mirror."""


def through(proxy: str) -> Dial:
    """Connect by way of this proxy, "socks5://…" or "http://…"; the address may be a name, which
    the proxy resolves. Raises VantageDown."""

    async def dial(
        address: str, port: int, timeout: float, hostname: str = ""
    ) -> tuple[socket.socket | None, StepResult]:
        started, failure, connection = time.perf_counter(), None, None
        try:
            connection = await Proxy.from_url(proxy, rdns=True).connect(address, port, timeout)
        except ProxyTimeoutError:
            await _reach(proxy, timeout)
            failure = TIMED_OUT
        except ProxyConnectionError as error:
            raise VantageDown("the proxy cannot be reached") from error
        except ProxyError as error:
            failure = _about_target(proxy, error.error_code)
            if failure is None:
                raise VantageDown(f"the proxy refuses ({_shortened(str(error))})") from error
        except OSError as error:
            raise VantageDown("the proxy breaks off") from error
        seconds = time.perf_counter() - started
        step = StepResult(Operation.connect, failure, seconds, address, hostname=hostname)
        return connection, step

    return dial


async def _reach(proxy: str, timeout: float) -> None:
    """See whether it is the proxy that does not answer, to what every proxy answers or closes at
    once. Raises VantageDown."""
    where = urlsplit(proxy)
    try:
        connection, step = await connect(where.hostname or "", where.port or 0, timeout)
    except OSError:
        return  # a name; it was connected to a moment ago
    if connection is None:
        raise VantageDown(f"the proxy cannot be reached ({step.failure})")
    greeting = _GREETING if proxy.startswith("socks5:") else _NO_METHOD
    with connection:
        try:
            async with asyncio.timeout(timeout):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(connection, greeting)
                await loop.sock_recv(connection, 1)
        except TimeoutError as error:
            raise VantageDown("the proxy does not answer") from error
        except OSError:
            return  # it has, in its way


def _shortened(words: str) -> str:
    """The words of a proxy, as far as they fit into a line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= MAX_WORDS else f"{line[:MAX_WORDS]}…"


def _about_target(proxy: str, code: int | None) -> str | None:
    codes = _SOCKS if proxy.startswith("socks5:") else _HTTP
    return codes.get(code or 0)
