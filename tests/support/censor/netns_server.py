"""The server in a lab: TLS on port 443; answers a line with a body, and closes."""

import asyncio
import ssl
import sys
from collections.abc import Sequence

from tests.support.censor.netns_rules import PORT
from tests.support.censor.relay import Censor
from tests.support.censor.rules import Relay, Rule, everything

BODY = bytes(200_000)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readline()
        writer.write(BODY)
        await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(cert_file: str, key_file: str, delay: float, addresses: Sequence[str]) -> None:
    """Serve until standard input ends, each connection `delay` seconds late."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert_file, key_file)
    server = await asyncio.start_server(_talk, "127.0.0.1", 0, ssl=tls)
    async with Censor([Rule(everything, Relay(delay=delay))]) as late:
        await late.listen(addresses, server.sockets[0].getsockname(), PORT)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
