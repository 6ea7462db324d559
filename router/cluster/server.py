"""The server to ask: the one that the address names, or that Sentinels or a cluster tell of.

Everything that instances keep carries one hash tag, so in a cluster it is on one node, and all
forms end in one connection to one server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from router.cluster.address import CLUSTER, SENTINEL, Address

if TYPE_CHECKING:
    from redis.asyncio import Redis

ANSWERS_WITHIN = 1.0
"""Seconds for one answer; a server that is frozen is as good as gone."""


class Server:
    """Finds the server when it is needed, and again after a failure."""

    def __init__(self, address: Address, key: str) -> None:
        """`key` is one of those that are asked for."""
        self._address = address
        self._key = key
        self._client: Redis | None = None
        self._former: list[Redis] = []
        self._finding = asyncio.Lock()

    async def client(self) -> Redis:
        """The client of the server, which connects when it is used. Raises RedisError, OSError."""
        from redis.asyncio import Redis

        async with self._finding:
            if self._client is None:
                while self._former:
                    await self._former.pop().aclose()
                self._client = Redis.from_url(await self._find(), **_limits())
            return self._client

    def forget(self) -> None:
        """Look for the server anew: another one may have taken its place."""
        if self._client is not None and self._address.kind in (SENTINEL, CLUSTER):
            self._former.append(self._client)
            self._client = None

    async def place(self) -> str:
        """Where the server is. Raises as `client` does."""
        told = (await self.client()).connection_pool.connection_kwargs
        return str(told.get("path") or f"{told['host']}:{told['port']}")

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._client, *self._former):
            if client is not None:
                await client.aclose()

    async def _find(self) -> str:
        """The URL of the server; one host of the address after the other is asked."""
        address = self._address
        async with asyncio.timeout(ANSWERS_WITHIN * (len(address.nodes) + 1)):
            if address.kind == SENTINEL:
                return address.url_of(*await _master(address))
            if address.kind == CLUSTER:
                return address.url_of(*await _holder(address, self._key))
            return address.url()


async def _master(address: Address) -> tuple[str, int]:
    """The server that the Sentinels have made the master."""
    from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

    options = _options(address.url_of_sentinels())
    sentinels = Sentinel(address.nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinels.discover_master(address.service)
    except MasterNotFoundError as error:
        known = f'no Sentinel that answers knows a master "{address.service}" that is up'
        raise MasterNotFoundError(known) from error
    finally:
        await sentinels.aclose()
    return host, int(port)


async def _holder(address: Address, key: str) -> tuple[str, int]:
    """The node of a cluster that has a key."""
    from redis.asyncio.cluster import ClusterNode, RedisCluster
    from redis.exceptions import ConnectionError, RedisClusterException

    nodes = [ClusterNode(host, port) for host, port in address.nodes]
    options = _options(address.url())
    cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
    try:
        await cluster.initialize()
        node = cluster.get_node_from_key(key)
    except RedisClusterException as error:
        raise ConnectionError(str(error)) from error
    finally:
        await cluster.aclose()
    if node is None:
        raise ConnectionError("no node of the cluster has our names now")
    return str(node.host), int(node.port)


def _options(url: str) -> dict[str, Any]:
    """All that a URL says beside the host, for clients that take no URL."""
    from redis.asyncio.connection import SSLConnection, parse_url

    options: dict[str, Any] = dict(parse_url(url))
    options["ssl"] = options.pop("connection_class", None) is SSLConnection
    for name in ("host", "port", "db"):
        options.pop(name, None)
    return {**options, **_limits()}


def _limits() -> dict[str, Any]:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return {
        "decode_responses": True,
        "socket_timeout": ANSWERS_WITHIN,
        "socket_connect_timeout": ANSWERS_WITHIN,
        "retry": Retry(NoBackoff(), 0),
    }
