"""Where a client enters: a mirror itself, to prove the journey, or mirrorgate before three."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.testkit.farm import TlsMirror
from tests.testkit.mirror.behaviour import Seen
from tests.testkit.mirror.server import TEST_KEY

UPLOAD_BYTES = 100 * 1000 * 1000


@dataclass(frozen=True)
class Entrance:
    """An OpenAI base URL and what a client needs to use it."""

    name: str
    root_url: str
    """Without /v1."""
    mirrors: tuple[TlsMirror, ...]
    """Those who may answer."""
    ca_file: Path | None = None
    """For https; None for plain http."""
    key: str = TEST_KEY
    log: Callable[[], str] = str
    """How to read the log of what is entered."""

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def logs(self) -> str:
        return self.log()

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts the authority of the mirrors, if there is TLS at all."""
        return ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)

    def seen(self, header: str, value: str) -> list[Seen]:
        """Return the requests with that header which any of the mirrors saw."""
        return [
            seen
            for each in self.mirrors
            for seen in each.mirror.seen()
            if seen.header(header) == value
        ]
