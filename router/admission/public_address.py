"""The address by which clients call this router, as it is named in errors and in links."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit


class PublicAddress:
    """Knows the entrances that the operator named, or else takes a request's own word."""

    def __init__(self, entrances: Sequence[str], public_url: str, prefix: str) -> None:
        """`entrances`: base URLs; `public_url`: of the status page; `prefix`: first of those that
        are forwarded."""
        bases = [url.rstrip("/") for url in entrances]
        self._first = bases[0] if bases else ""
        self._by_host = {_host_of(base): base for base in reversed(bases)}
        self._public_url = public_url
        self._suffix = prefix.rstrip("/")

    def __repr__(self) -> str:
        return f"<PublicAddress {', '.join(self._by_host) or 'as requests say'}>"

    def base_url(self, scheme: str, host: str) -> str:
        """The base URL for SDKs: the entrance that the request came by, or the first one; without
        entrances what the request says of itself."""
        if self._first:
            return self._by_host.get(host.lower(), self._first)
        return f"{scheme}://{host}{self._suffix}"

    def root(self, scheme: str, host: str) -> str:
        """The base URL without the forwarded prefix."""
        return self.base_url(scheme, host).removesuffix(self._suffix)

    def advice(self, scheme: str, host: str) -> str:
        """A sentence that says where to go instead of a path that is not served."""
        if self._public_url and not self._first:
            return f"How to use this router: {self._public_url}"
        return f"The base URL is {self.base_url(scheme, host)}"


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()
