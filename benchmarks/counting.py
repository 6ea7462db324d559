"""Instructions that a worker's own code takes, which no neighbour of the machine changes.

A worker runs under valgrind's callgrind, which counts what is executed in user space: the kernel's
share is left out. One client and three mirrors work with it in lock step, a message at a time, so
that every run has the same reads. Counting is off while the worker starts, which takes seconds.

What a Python is built with makes a third of difference, so a count is also told in turns of a loop
that is counted in the same run (`counted.calibrate`): that ratio can be committed.
"""

import json
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.events import DONE, event
from benchmarks.requests import CHAT_PATH, chat_body, headers, reply
from monitor.common.compiled import COMPILED, FORM, PURE
from router.admission.credentials import checksum
from tests.testkit.processes import python_environment

HOST = "127.0.0.1"
WARMING = 100
MOST_WARMING = 5_000
"""Requests within which every mirror has had one: 200 have after some 1,200."""
REQUESTS = 100
EVENTS = 50
PATIENCE = 60.0
"""Seconds for each message, and for the start; a worker that is counted is fifty times slower."""
PEPPER = "01" * 32
_SECRET = "a1" * 21
ISSUED = f"mg-{_SECRET}{checksum(_SECRET)}".encode()
_OWN = b"sk-benchmark"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
_LENGTH = re.compile(rb"(?i)content-length: (\d+)")
TOOLS = ("valgrind", "callgrind_control")
KEPT = Path(__file__).with_name("instructions.json")
"""Ratios of the source form, by version of Python: what `make test` holds it to."""


class CannotCount(Exception):
    """The count has failed; the text says why."""


@dataclass(frozen=True)
class Setup:
    """Known to the worker that is counted: mirrors, bans, issued keys, the workers that count in
    its table, and the hosts that share its limits (0: there is no cluster)."""

    mirrors: int = 3
    bans: int = 0
    keys: int = 1
    workers: int = 1
    hosts: int = 0


@dataclass(frozen=True)
class Counts:
    """Instructions of each kind of work, and of the loop that they are compared with."""

    each: dict[str, float]
    """By kind of work: of one unit."""
    loop: float
    """Of the whole loop."""

    @property
    def ratios(self) -> dict[str, float]:
        """Units of work in thousandths of the loop."""
        return {name: round(1000 * n / self.loop, 3) for name, n in self.each.items()}


class Mirrors:
    """Listening sockets of mirrors, and the connections that the worker has opened to them."""

    def __init__(self, stack: ExitStack, many: int) -> None:
        self._stack = stack
        self._listening = [stack.enter_context(_listener()) for _ in range(many)]
        self._open: list[socket.socket] = []
        self.unasked = set(self._listening)
        """Mirrors that have had no request yet."""

    @property
    def ports(self) -> list[int]:
        return [sock.getsockname()[1] for sock in self._listening]

    def request(self) -> socket.socket:
        """Read one request, at whichever mirror; returns its connection."""
        while True:
            ready, _, _ = select.select([*self._listening, *self._open], [], [], PATIENCE)
            if not ready:
                raise CannotCount("the worker has sent no request")
            for sock in ready:
                if sock in self._listening:
                    accepted = self._stack.enter_context(sock.accept()[0])
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open.append(accepted)
                    self.unasked.discard(sock)
                else:
                    _read_message(sock)
                    return sock


class Counter:
    """A worker under callgrind, and what counts in it."""

    def __init__(self, worker: subprocess.Popen[str], out: Path, mirrors: Mirrors) -> None:
        assert worker.stdout is not None
        told = worker.stdout.readline().split()
        if len(told) != 2:
            raise CannotCount(f"the worker has not started: {_last_line(out / 'log')}")
        self._port, self._loop_port = map(int, told)
        self._pid, self._out, self._mirrors = worker.pid, out, mirrors
        self._client = socket.create_connection((HOST, self._port), PATIENCE)

    def close(self) -> None:
        """Leave the worker."""
        self._client.close()

    def count(self, work: Callable[[], None], units: int) -> float:
        """Do the work and return the instructions of each of its units."""
        self._control("-z")
        work()
        before = set(self._out.iterdir())
        self._control("-d")
        (dump,) = set(self._out.iterdir()) - before
        found = _TOTAL.search(dump.read_text())
        if found is None:
            raise CannotCount(f"valgrind has written no total into {dump.name}")
        return int(found[1]) / units

    def begin(self) -> None:
        """Warm up, and begin to count."""
        self.chats(_OWN, WARMING)
        self.chats(ISSUED, WARMING)
        for key in (_OWN, ISSUED):
            self.streams(key, 1)
        for _ in range(MOST_WARMING // WARMING):
            if self._mirrors.unasked:  # to open a connection is not what is counted
                self.chats(_OWN, WARMING)
        self._control("-i", "on")
        self.chats(_OWN, 2)

    def chats(self, key: bytes, times: int) -> None:
        """Ask so often, each time when the answer before is there."""
        request, answer = chat(key), _answer()
        for _ in range(times):
            self._client.sendall(request)
            self._mirrors.request().sendall(answer)
            _read_message(self._client)

    def streams(self, key: bytes, events: int) -> None:
        """Ask for one stream and hear so many events."""
        self._client.sendall(chat(key, stream=True))
        mirror = self._mirrors.request()
        before = _STREAM
        for moment in range(events):
            piece = _chunk(event(moment))
            mirror.sendall(before + piece)
            self._read_until(piece)
            before = b""
        mirror.sendall(_chunk(DONE) + b"0\r\n\r\n")
        self._read_until(b"0\r\n\r\n")

    def event(self, key: bytes) -> float:
        """Count one more event of a stream."""
        self.streams(key, 1)  # the first after other work takes as much more as ten events
        few = self.count(lambda: self.streams(key, 1), 1)
        return (self.count(lambda: self.streams(key, 1 + EVENTS), 1) - few) / EVENTS

    def loop(self) -> None:
        """Have the loop run that is compared with."""
        with socket.create_connection((HOST, self._loop_port), PATIENCE) as sock:
            sock.recv(1)

    def _read_until(self, end: bytes) -> None:
        read = b""
        while not read.endswith(end):
            piece = self._client.recv(65536)
            if not piece:
                raise CannotCount("the worker has closed the connection")
            read += piece

    def _control(self, *arguments: str) -> None:
        command = ["callgrind_control", *arguments, str(self._pid)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if ran.returncode != 0:
            raise CannotCount(f"callgrind_control: {(ran.stderr or ran.stdout).strip()[-200:]}")


def count(form: str, setup: Setup = Setup()) -> Counts:
    """The counts of this form of mirrorgate, "pure" or "compiled". Raises CannotCount."""
    with _worker(form, setup) as counter:
        counter.begin()
        measured = {
            "chat": counter.count(lambda: counter.chats(_OWN, REQUESTS), REQUESTS),
            "metered": counter.count(lambda: counter.chats(ISSUED, REQUESTS), REQUESTS),
            "event": counter.event(_OWN),
            "metered event": counter.event(ISSUED),
        }
        return Counts(measured, counter.count(counter.loop, 1))


@contextmanager
def _worker(form: str, setup: Setup) -> Iterator[Counter]:
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="count-")))
        mirrors = Mirrors(stack, setup.mirrors)
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q"]
        command += [f"--callgrind-out-file={out}/out", sys.executable, "-m", "benchmarks.counted"]
        known = {name: value for name, value in asdict(setup).items() if name != "mirrors"}
        command += [f"--{name}={value}" for name, value in known.items()]
        log = stack.enter_context((out / "log").open("w"))
        worker = subprocess.Popen(
            [*command, *map(str, mirrors.ports)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**python_environment(), "PYTHONHASHSEED": "0", FORM: form},
        )
        stack.callback(_end, worker)
        with closing(Counter(worker, out, mirrors)) as counter:
            yield counter


def _end(worker: subprocess.Popen[str]) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert worker.stdout is not None
    worker.stdout.close()


def _last_line(log: Path) -> str:
    return (log.read_text().strip().splitlines() or ["it says nothing"])[-1]


def chat(key: bytes, *, stream: bool = False) -> bytes:
    """A request as the official Python SDK sends it, of 1 KB."""
    body = chat_body(1_000, stream=stream)
    fields = headers(80, len(body)) | {"Authorization": f"Bearer {key.decode()}"}
    lines = [f"POST {CHAT_PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join((*lines, "", "")).encode() + body


def _answer() -> bytes:
    body = reply(400)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _listener() -> socket.socket:
    return socket.create_server((HOST, 0))


def _read_message(sock: socket.socket) -> None:
    """Read one message with a Content-Length."""
    read = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            raise CannotCount("the worker has closed a connection")
        read += piece
        head, end, body = read.partition(b"\r\n\r\n")
        if end:
            found = _LENGTH.search(head)
            if len(body) >= (int(found[1]) if found else 0):
                return


def version() -> str:
    """The Python's version that ratios are kept for, such as "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def kept() -> dict[str, dict[str, float]]:
    """Ratios of the source form that were kept, by version of Python and kind of work."""
    return dict(json.loads(KEPT.read_text())) if KEPT.exists() else {}


def missing_tool() -> str:
    """Say what is missing to count, and where to get it; empty if nothing is."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{missing[0]} is needed; apt-get install -y valgrind" if missing else ""


def main(arguments: Sequence[str]) -> int:
    """Count both forms and print a table; with `--keep`, keep the ratios of the source form."""
    if reason := missing_tool():
        print(reason, file=sys.stderr)
        return 1
    print("instructions: each, and in thousandths of the loop that they are compared with")
    for form in (PURE, COMPILED):
        try:
            counts = count(form)
        except CannotCount as error:
            print(f"{form}: not counted: {error}")
            continue
        told = (f"{kind} {n:,.0f} ({counts.ratios[kind]:g})" for kind, n in counts.each.items())
        print(f"{form}: {', '.join(told)}")
        if form == PURE and "--keep" in arguments:
            KEPT.write_text(json.dumps(kept() | {version(): counts.ratios}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
