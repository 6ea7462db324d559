"""Large uploads, one after the other."""

import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load.result import LoadFailed, Result, percentile
from benchmarks.requests import BOUNDARY, UPLOAD_PATH, head, upload_body

MB = 1_000_000
TIMEOUT = 60.0


@dataclass(frozen=True)
class Uploads:
    """Multipart forms of `size` bytes; delays are those of whole uploads."""

    size: int = 100 * MB

    def warm(self, port: int) -> None:
        _upload(port, upload_body(MB))

    def run(self, port: int, seconds: float, memory: Callable[[], int]) -> Result:
        body = upload_body(self.size)
        start = time.monotonic()
        took: list[float] = []
        while not took or time.monotonic() - start < seconds:
            began = time.monotonic()
            _upload(port, body)
            took.append((time.monotonic() - began) * 1e6)
        return Result(
            units=len(took) * self.size / MB,
            seconds=time.monotonic() - start,
            p50=percentile(took, 0.5),
            p99=percentile(took, 0.99),
        )


def _upload(port: int, body: bytes) -> None:
    form = f"multipart/form-data; boundary={BOUNDARY}"
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(head(UPLOAD_PATH, port, len(body), form))
            connection.sendall(body)
            response = http.client.HTTPResponse(connection, method="POST")
            response.begin()
            answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise LoadFailed(f"upload: {error}") from error
    if response.status != 200:
        raise LoadFailed(f"upload: status {response.status}: {answer[:200]!r}")
