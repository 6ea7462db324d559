"""Authors of changes: the user at the other end of the Unix socket, or an address."""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct
from pathlib import Path

from aiohttp import web

from monitor.common.audit import Actor

LOOK_UP = 2.0
"""Seconds that names of users may take, which may come from a directory in the network."""
_CREDENTIALS = struct.Struct("3i")
"""`struct ucred` of the peer (unix(7)): process, user, group."""
_PROC = Path("/proc")


async def actor(request: web.Request) -> Actor:
    """Return the author of this request."""
    connected = None if request.transport is None else request.transport.get_extra_info("socket")
    if connected is None or connected.family != socket.AF_UNIX:
        return Actor("operator", request.remote or "")
    packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(packed)
    try:
        return await asyncio.wait_for(asyncio.to_thread(over_the_socket, pid, uid), LOOK_UP)
    except TimeoutError:
        return Actor(f"user {uid}", f"the socket (pid {pid})")


def over_the_socket(pid: int, uid: int, proc: Path = _PROC) -> Actor:
    """A process, and its user; `pid` 0 is one that we cannot see, as outside of our container.

    Who became another user after the login, as with sudo, is recorded too: the kernel keeps the
    user of the login (proc_pid_loginuid(5)).
    """
    if not pid:
        return Actor(user_name(uid), "the socket")
    login = _login(pid, proc)
    told = "" if login is None or login == uid else f", logged in as {user_name(login)}"
    return Actor(user_name(uid), f"the socket (pid {pid}{told})")


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none here, as in containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _login(pid: int, proc: Path) -> int | None:
    """The user that this process belongs to since its login, if it has had one."""
    try:
        login = int((proc / str(pid) / "loginuid").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if login == 0xFFFFFFFF else login
