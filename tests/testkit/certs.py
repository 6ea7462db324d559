"""A private certificate authority, for real TLS on the loopback address."""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

LOCAL_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Leaf:
    """A certificate chain and its key, as files."""

    cert_file: Path
    key_file: Path
    names: tuple[str, ...]

    def server_context(self) -> ssl.SSLContext:
        """Return what a server needs to show this certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


def trusting_anybody() -> ssl.SSLContext:
    """Return what a client needs that verifies nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Authority:
    """A certificate authority that nobody but the tests trusts; its files lie in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self._issued = 0
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str, local: bool = True, not_after: datetime | None = None) -> Leaf:
        """Issue a certificate for these host names or addresses.

        With `local` it holds for localhost and 127.0.0.1 too. `not_after` in the past gives an
        expired one.
        """
        covered = (*names, *LOCAL_NAMES) if local else names
        certificate = self._ca.issue_cert(*covered, not_after=not_after)
        self._issued += 1
        stem = self._directory / f"leaf-{self._issued}"
        leaf = Leaf(stem.with_suffix(".pem"), stem.with_suffix(".key"), covered)
        for position, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(str(leaf.cert_file), append=position > 0)
        certificate.private_key_pem.write_to_path(str(leaf.key_file))
        leaf.key_file.chmod(0o600)
        return leaf

    def stranger(self) -> "Authority":
        """Return another authority, that nobody trusts at all; its files lie beside ours."""
        self._issued += 1
        directory = self._directory / f"stranger-{self._issued}"
        directory.mkdir()
        return Authority(directory)

    def client_context(self) -> ssl.SSLContext:
        """Return what a client needs to trust this authority, and no other."""
        return ssl.create_default_context(cafile=str(self.ca_file))
