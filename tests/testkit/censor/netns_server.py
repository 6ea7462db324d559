"""The server in a lab: TLS on port 443; answers a line with a body, and closes."""

import asyncio
import ssl
import sys
from collections.abc import Sequence

from tests.testkit.censor.netns import PORT
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import Relay, Rule, everything
from tests.testkit.listener import TlsServer

BODY = bytes(200_000)


async def serve(cert_file: str, key_file: str, delay: float, addresses: Sequence[str]) -> None:
    """Serve until standard input ends, each connection `delay` seconds late."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert_file, key_file)
    late = Rule(everything, Relay(delay=delay))
    async with TlsServer(tls, BODY) as server, Censor([late]) as relay:
        await relay.listen(addresses, server.address, PORT)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
