"""The running instance, asked over its Unix socket (mode 0600: only its own user may)."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.cli.console import CommandFailed, Console
from router.control import document

TIMEOUT = 30.0
"""Seconds. A reload opens nothing, an override is one write: more than this is a hung process."""

_UCRED = struct.Struct("3i")
"""pid, uid and gid of who called listen(2) last (unix(7), SO_PEERCRED)."""
_CONTROL = b"router.control.control"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(TIMEOUT)
            self.sock.connect(str(self._path))
        except BaseException:
            self.sock.close()
            raise


class Refused(CommandFailed):
    """The instance said no."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        error = answer.get("error")
        said = error.get("message") if isinstance(error, dict) else None
        super().__init__(str(said or f"the running instance answered with status {status}"))
        self.status = status
        self.faults = [str(fault) for fault in answer.get("faults") or ()]


class Client:
    """Asks the instance that runs with a configuration file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, args: Namespace, console: Console) -> Client:
        """The client for the configuration that the command line names."""
        config = document.find(args.config, console.environ)
        return cls(document.socket_path(config, console.environ))

    def call(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer. Raises Refused, or CommandFailed when nobody answers."""
        connection = _UnixConnection(self._path)
        try:
            headers = {"Content-Type": "application/json"}
            content = None if body is None else json.dumps(body)
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            answer = _parsed(response.read())
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(_unreachable(self._path, error)) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise Refused(response.status, answer if isinstance(answer, dict) else {})
        return answer


def unwritten(answer: Mapping[str, Any]) -> str:
    """A sentence on a change that is in effect and could not be written; empty if it was."""
    if answer.get("written", True):
        return ""
    return (
        "this is in effect, but the store cannot be written at present (see `mirrorgate status`): "
        "it is written as soon as that is possible, and a restart before then forgets it"
    )


def answers(path: Path) -> bool:
    """True if an instance listens on this socket."""
    return running_pid(path) is not None


def running_pid(path: Path) -> int | None:
    """The main process of the instance that listens on this socket; None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
            peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError:
            return None
    pid: int = _UCRED.unpack(peer)[0]
    return _parent(pid) or pid


def _parent(pid: int) -> int | None:
    """The parent of a control process; None of any other, or where that may not be read."""
    try:
        if _CONTROL not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return None
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[1])


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return {}


def _unreachable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no instance is running (nobody answers at {path}): start one: `mirrorgate run`"
    if isinstance(error, PermissionError):
        return f"{path} may not be opened: run this as the user who runs mirrorgate"
    if isinstance(error, TimeoutError):
        return f"the running instance did not answer within {TIMEOUT:g} s: look at its log"
    return f"the running instance at {path} cannot be asked: {error}"
