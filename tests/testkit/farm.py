"""The test farm: pretend mirrors, each behind a real nginx with TLS, and mirrorgate before them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.testkit.certs import Authority
from tests.testkit.instance import Config, Instance
from tests.testkit.mirror.behaviour import Seen
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.nginx import Nginx
from tests.testkit.ports import HOST

NAMES = ("alpha", "beta", "gamma")


class TlsMirror:
    """One pretend mirror behind nginx, known to the outside as https://NAME.mirror.test."""

    def __init__(
        self,
        name: str,
        directory: Path,
        authority: Authority,
        *,
        keys: Sequence[str] = (TEST_KEY,),
        **switches: Any,
    ) -> None:
        self.name, self.hostname = name, f"{name}.mirror.test"
        self._authority, self._directory = authority, directory
        self.mirror = MirrorProcess(name, directory, keys=keys, **switches)
        self.front: Nginx
        self._stack = ExitStack()

    @property
    def base_url(self) -> str:
        """Where a client reaches it without mirrorgate, without /v1."""
        return self.front.base_url

    def table(self) -> Config:
        """Return its `[[mirrors]]` table; the name needs no resolver."""
        return {
            "id": self.name,
            "name": self.name,
            "url": f"https://{self.hostname}:{self.front.port}",
            "addresses": [HOST],
            "allow_private": True,
            "ca_file": str(self._authority.ca_file),
            "client_keys": ["sk-*"],
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.mirror)
            leaf = self._authority.issue(self.hostname)
            self.front = Nginx(self._directory / f"nginx-{self.name}", self.mirror.port, leaf)
            stack.enter_context(self.front)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)


def config_for(mirrors: Sequence[TlsMirror]) -> Config:
    """Return a configuration with these mirrors, two workers and no limits for loopback clients."""
    return {
        "router": {"workers": 2},
        "limits": {"allow": ["127.0.0.0/8"]},
        "mirrors": [mirror.table() for mirror in mirrors],
    }


class Farm:
    """Several TLS mirrors and one instance of mirrorgate in front of them; a context manager.

    `config` goes on top of the farm's own: two workers, and no limits for the loopback address.
    With `instance=False` only the mirrors run.
    """

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        config: Mapping[str, Any] | None = None,
        *,
        names: Sequence[str] = NAMES,
        instance: bool = True,
    ) -> None:
        self._directory, self._config, self._with_instance = directory, config or {}, instance
        self.authority = authority
        self.mirrors = [TlsMirror(name, directory, authority) for name in names]
        self.instance: Instance
        self._stack = ExitStack()

    @property
    def base_url(self) -> str:
        """The instance's API listener, without /v1."""
        return self.instance.base_url

    def config(self) -> Config:
        """Return the configuration for an instance in front of these mirrors."""
        return config_for(self.mirrors) | dict(self._config)

    def seen(self, **headers: str) -> list[Seen]:
        """Return what all mirrors saw; only requests with these headers ("x_test_id" for -)."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        return [
            seen
            for mirror in self.mirrors
            for seen in mirror.mirror.seen()
            if all(seen.header(name) == value for name, value in wanted.items())
        ]

    def logs(self) -> str:
        parts = [mirror.mirror.logs() + mirror.front.logs() for mirror in self.mirrors]
        return "\n".join([*parts, self.instance.logs() if self._with_instance else ""])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for mirror in self.mirrors:
                stack.enter_context(mirror)
            if self._with_instance:
                self.instance = Instance(self.config(), self._directory / "instance")
                stack.enter_context(self.instance)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)
