"""Both ends of a tunnel as blocking sockets, so that a test says exactly how each of them ends."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from typing import Self

PATIENCE = 15.0
FIN, RST = "fin", "rst"
_TCP_CLOSE = 7
"""Of `tcp_info`, see linux/tcp_states.h; after a FIN it would be CLOSE_WAIT."""


class Peer:
    """One end, over TCP or TLS."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock

    @classmethod
    def connected(cls, port: int, context: ssl.SSLContext | None, receive: int = 0) -> Self:
        """A client's end; `receive`: the size of its kernel's buffer."""
        sock = socket.socket()
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
        return cls(sock)

    def send(self, data: bytes) -> None:
        """Write all of it, however long the other side makes us wait."""
        self.sock.sendall(data)

    def head(self) -> bytes:
        """Read up to an empty line, and nothing behind it."""
        found = b""
        while not found.endswith(b"\r\n\r\n"):
            piece = self.sock.recv(1)
            assert piece, found
            found += piece
        return found

    def exactly(self, size: int) -> bytes:
        """So many bytes, or those that came before the end."""
        parts = []
        while size and (piece := self.sock.recv(min(size, 1 << 16))):
            parts.append(piece)
            size -= len(piece)
        return b"".join(parts)

    def exactly_while_sending(self, size: int, data: bytes) -> bytes:
        """So many bytes, while this is sent over and over: in one thread, for TLS needs that."""
        parts, found, sends = [], 0, True
        self.sock.setblocking(False)
        while found < size:
            try:
                piece = self.sock.recv(min(size - found, 1 << 16))
            except (BlockingIOError, ssl.SSLWantReadError):
                wanted = [self.sock] if sends else []
                assert any(select.select([self.sock], wanted, [], PATIENCE)), "silence"
            else:
                if not piece:
                    break
                parts.append(piece)
                found += len(piece)
            try:
                if sends:
                    self.sock.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass
            except OSError:
                sends = False
        self.sock.settimeout(PATIENCE)
        return b"".join(parts)

    def rest(self) -> tuple[bytes, str]:
        """All that comes up to the end, and how that is told."""
        parts = []
        try:
            while piece := self.sock.recv(1 << 16):
                parts.append(piece)
        except ConnectionResetError:
            return b"".join(parts), RST
        secure = isinstance(self.sock, ssl.SSLSocket)
        return b"".join(parts), RST if secure and self._was_reset else FIN

    @property
    def _was_reset(self) -> bool:
        """True if the connection is no more; Python's ssl tells a reset as an end."""
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] == _TCP_CLOSE

    def finish(self) -> None:
        """Say that nothing more comes: close_notify, where there is TLS, and FIN."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.setblocking(False)
            with contextlib.suppress(ssl.SSLError):  # it goes on to read, which we do not want
                self.sock.unwrap()
            self.sock.settimeout(PATIENCE)
        self.leave_without_notice()

    def leave_without_notice(self) -> None:
        """FIN alone."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """RST, whatever was still to be sent or read."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Leave."""
        self.sock.close()


class PeerListener:
    """A mirror's listener; `accepted()` is the other end of a connection to it."""

    def __init__(self, context: ssl.SSLContext | None = None, receive: int = 0) -> None:
        self._context = context
        self._sock = socket.socket()
        if receive:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen()
        self._sock.settimeout(PATIENCE)
        self.port: int = self._sock.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def accepted(self) -> Peer:
        """The next connection, its handshake done."""
        sock, _ = self._sock.accept()
        sock.settimeout(PATIENCE)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True)
        return Peer(sock)

    def table(self, ca_file: str = "", **more: object) -> dict[str, object]:
        """Its entry in a configuration."""
        scheme = "http" if self._context is None else "https"
        tls = {"ca_file": ca_file} if self._context is not None else {}
        url = f"{scheme}://127.0.0.1:{self.port}"
        return {"id": "a", "url": url, "addresses": ["127.0.0.1"], **tls, **more}
