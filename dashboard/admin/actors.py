"""Who asks for a change: the user at the other end of the Unix socket, or an address."""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct

from aiohttp import web

from monitor.actors import Actor

LOOK_UP = 2.0
"""Seconds that the name of a user may take, which may come from a directory in the network."""
_CREDENTIALS = struct.Struct("3i")
"""`struct ucred` of the peer (unix(7)): process, user, group."""


async def actor(request: web.Request) -> Actor:
    """Who sent this request."""
    connected = None if request.transport is None else request.transport.get_extra_info("socket")
    if connected is None or connected.family != socket.AF_UNIX:
        return Actor("operator", request.remote or "")
    packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(packed)
    try:
        who = await asyncio.wait_for(asyncio.to_thread(user_name, uid), LOOK_UP)
    except TimeoutError:
        who = f"user {uid}"
    return Actor(who, over_the_socket(pid))


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none here, as in containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def over_the_socket(pid: int) -> str:
    """Which process; 0 is one that this process cannot see, as outside of its container."""
    return f"the socket (pid {pid})" if pid else "the socket"
