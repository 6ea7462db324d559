"""`mirrorgate run`: check the configuration, bind every socket, then supervise."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import ExitStack
from pathlib import Path

from monitor.common import logs
from monitor.common.compiled import form
from monitor.common.log_writer import flush_all
from router.admission.capacity import raise_descriptor_limit
from router.cli.client import running_pid
from router.cli.console import CommandFailed
from router.control.configuration import Loaded
from router.control.document import Document
from router.control.sections import Config
from router.process.listener import ListenError, base_url, bind
from router.process.service_manager import ServiceManager
from router.process.supervisor import Supervisor, worker_count

log = logging.getLogger("supervisor")


def start(path: Path) -> int:
    """Start with this configuration and stay until stopped; the exit code.

    Raises SettingsError for a bad configuration and CommandFailed when it cannot start.
    """
    loaded = Loaded.first(path)
    config = loaded.current.config
    logs.configure(config.log, "supervisor")
    if form.reason:
        log.warning("running from source: %s", form.reason)
    raise_descriptor_limit()
    _refuse_second(config.admin.socket)
    with ExitStack() as stack:
        listeners = _bind_all(config, stack)
        supervisor = Supervisor(
            loaded.hand_down(),
            worker_count(config.router.workers),
            config.router.timeouts.drain,
            listeners.pop("api"),
            listeners,
            on_ready=lambda: _announce_ready(loaded.current),
            manager=ServiceManager.of(os.environ, os.getpid()),
        )
        try:
            code = supervisor.run()
        except Exception:  # not to stderr by itself, which may be a pipe that nobody reads
            log.critical("the supervisor ends", exc_info=True)
            return 1
    if not flush_all():  # nobody reads: whatever else is written to stderr would wait for ever
        return code
    if supervisor.failure:
        raise CommandFailed(supervisor.failure)
    return code


def _refuse_second(name: str) -> None:
    """Raises CommandFailed where an instance answers at the socket of this configuration."""
    if (pid := running_pid(Path(name))) is not None:
        raise CommandFailed(
            f"mirrorgate is already running (pid {pid}) and answers at {name}: "
            "`mirrorgate reload` takes over a changed file, "
            "another instance needs another admin.socket"
        )


def _bind_all(config: Config, stack: ExitStack) -> dict[str, socket.socket]:
    try:
        listeners = {"api": bind(config.router.listen, "router.listen")}
        for name in ("dashboard", "admin"):
            listen = getattr(config, name).listen
            if listen:
                listeners[name] = bind(listen, f"{name}.listen")
        listeners["socket"] = _bind_socket(config.admin.socket)
    except ListenError as error:
        raise CommandFailed(str(error)) from None
    stack.callback(Path(config.admin.socket).unlink, missing_ok=True)
    return listeners


def _bind_socket(name: str) -> socket.socket:
    """The Unix socket of the commands, for this user only; a dead one in its place is replaced."""
    path = Path(name)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        sock.bind(name)
        sock.listen(64)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot open {name} ({error.strerror}): set admin.socket") from None
    finally:
        os.umask(mask)
    sock.setblocking(False)
    return sock


def _announce_ready(current: Document) -> None:
    """Print the addresses once all processes are ready."""
    config = current.config
    base = base_url(config.router)
    lines = [f"API          {base}"]
    if config.dashboard.listen:
        lines.append(f"status page  http://{config.dashboard.listen}/")
    if config.admin.listen:
        lines.append(f"metrics      http://{config.admin.listen}/metrics")
    lines.append(f'try          curl {base}/models -H "Authorization: Bearer $OPENAI_API_KEY"')
    text = "\n  ".join(("mirrorgate is ready", *lines))
    logs.writer_of(logs.STDOUT).put(f"{text}\n".encode("utf-8", "backslashreplace"))
