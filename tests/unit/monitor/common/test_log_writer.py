"""A log writer waits in its own thread, in order, within bounds, and says what it dropped."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from monitor.common.log_writer import LogWriter
from monitor.common.logs import LogConfig
from router.process.access_log import access_log
from tests.testkit.wait import wait_until

FULL = """
import logging, os, sys
from monitor.common.logs import LogConfig, configure
configure(LogConfig(), "control")
for number in range(int(sys.argv[1])):
    logging.getLogger("control").info("line %d %s", number, "x" * 100)
"""


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """A reading end, and a writing end that its writer closes."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield reading, writing
    finally:
        os.close(reading)


def _line(number: int) -> bytes:
    return b"%05d %s\n" % (number, b"x" * 93)


def _read_all(reading: int) -> bytes:
    parts = []
    while part := os.read(reading, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_lines_dropped_at_a_full_pipe_are_counted_in_their_place() -> None:
    with _pipe() as (reading, writing):
        writer = LogWriter(writing, lambda count: b"%d dropped\n" % count)
        for number in range(20_000):
            writer.put(_line(number))
        assert not writer.flush(0.01)
        dropped = writer.dropped
        writer.close()
        lines = _read_all(reading).splitlines(keepends=True)
    kept = 20_000 - dropped
    assert 9_000 < kept < 11_000
    assert lines == [*map(_line, range(kept)), b"%d dropped\n" % dropped]


def test_lines_are_taken_again_once_all_that_was_queued_is_written() -> None:
    with _pipe() as (reading, writing):
        writer = LogWriter(writing, lambda count: b"%d dropped\n" % count)
        for number in range(20_000):
            writer.put(_line(number))
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(_read_all(reading)))
        reader.start()
        assert writer.flush(10)
        writer.put(b"again\n")
        writer.close()
        reader.join(10)
    assert read[0].endswith(b" dropped\nagain\n")


def test_the_flags_of_a_descriptor_that_others_share_stay_as_they_are() -> None:
    with _pipe() as (_reading, writing):
        writer = LogWriter(writing, lambda count: b"")
        assert os.get_blocking(writing)
        writer.close()


@pytest.mark.parametrize("lines", [1, 50_000])
def test_a_process_whose_log_nobody_reads_ends(lines: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FULL, str(lines)], stderr=subprocess.PIPE
    ) as process:
        assert process.wait(30) == 0
        assert process.stderr is not None
        text = process.stderr.read().decode()
    assert text.endswith("x\n")
    assert "control: line 0 " in text


def test_an_access_log_that_is_a_pipe_without_a_reader_is_refused_at_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    fifo = tmp_path_factory.mktemp("log") / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="No such device or address"):
        access_log(LogConfig(access=str(fifo)), "worker-0")


def test_a_closed_access_log_has_all_its_lines_and_keeps_no_descriptor(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("log") / "access.log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writer = LogWriter(fd, lambda count: b"")
    for number in range(100):
        writer.put(_line(number))
    writer.close()
    wait_until(lambda: len(file.read_bytes().splitlines()) == 100)
    wait_until(lambda: not os.path.exists(f"/proc/self/fd/{fd}"))
