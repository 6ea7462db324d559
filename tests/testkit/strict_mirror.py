"""A mirror that answers whole, strictly well-formed requests and notes everything else."""

from __future__ import annotations

import asyncio

from tests.testkit.road import ScriptedMirror
from tests.testkit.strict_http import NotStrict, StrictRequest, read_strictly

_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 1}'


class StrictMirror(ScriptedMirror):
    """Takes the bytes of each connection apart with `read_strictly`."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.raw: list[bytearray] = []
        """All bytes of each connection."""
        self.requests: list[StrictRequest] = []
        self.violations: list[str] = []

    @property
    def everything(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(map(bytes, self.raw))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw, pending = bytearray(), b""
        self.raw.append(raw)
        while data := await reader.read(1 << 16):
            raw += data
            try:
                requests, pending = read_strictly(pending + data)
            except NotStrict as violation:
                self.violations.append(str(violation))
                return
            self.requests += requests
            writer.write(_ANSWER * len(requests))
            await writer.drain()
