"""A look at another server, for what it shows of our own surroundings: its clock, its certificate.

Its certificate is not verified, and nothing but `GET /` without a key is asked of it.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from monitor.probes.connect import connect
from monitor.probes.http import ResponseReader, exchange
from monitor.probes.results import StepResult, Way, Witness
from monitor.probes.tls import Shake, TlsContexts, handshake


async def hear(
    way: Way, port: int, contexts: TlsContexts, agent: str, timeout: float
) -> Witness | None:
    """See which certificate and time a server shows under a name; None if it does not answer.

    Each step may take `timeout` seconds.
    """
    connection, _ = await connect(way.address, port, timeout)
    if connection is None:
        return None
    with connection:
        shake = Shake.as_itself(way.address, way.hostname)
        stream, shaken = await handshake(connection, contexts.for_control(), shake, timeout)
        if stream is None:
            return Witness(None, shaken.tls)
        head = f"GET / HTTP/1.1\r\nHost: {way.hostname}\r\nUser-Agent: {agent}\r\nConnection: close"
        reader = ResponseReader(keep=0, most=0)
        answered = await exchange(stream, f"{head}\r\n\r\n".encode("ascii"), reader, way, timeout)
    return Witness(ahead_of(answered, time.time()), shaken.tls)


def ahead_of(answered: StepResult, now: float) -> float | None:
    """Seconds by which our clock is ahead of the `Date` of a response (RFC 9110 section 6.6.1)."""
    date = answered.http.headers.get("date", "") if answered.http else ""
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
