"""The file that a worker starts from: whole or former, whatever happens on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from monitor.common.ipc import Message, encoded
from router.process.last_lists import LastLists, create


@pytest.fixture
def fd() -> Iterator[int]:
    made = create()
    yield made
    os.close(made)


def _messages(count: int, mark: str) -> list[Message]:
    return [{"type": "bans", "rows": [mark, "a\nb", "é"], "piece": n} for n in range(count)]


def _write(fd: int, messages: list[Message]) -> None:
    LastLists(fd).write([encoded(message) for message in messages])


def test_an_empty_one_holds_nothing(fd: int):
    assert LastLists(fd).read() == []


def test_the_last_written_lists_are_read_at_any_length(fd: int):
    for count in (3, 1, 4, 4, 200, 2, 2, 500, 1):
        messages = _messages(count, f"of {count}")
        _write(fd, messages)
        assert LastLists(fd).read() == messages


def test_it_does_not_grow_with_every_writing(fd: int):
    for number in range(100):
        _write(fd, _messages(50, f"{number:05}"))
    assert os.fstat(fd).st_size < 4 * len(b"\n".join(map(encoded, _messages(50, "00000"))))


def test_a_process_killed_while_writing_leaves_the_former_content(
    fd: int, monkeypatch: pytest.MonkeyPatch
):
    former = _messages(5, "former")
    _write(fd, former)
    _write(fd, former)
    real = os.pwrite

    class Killed(Exception):
        pass

    def half(fd: int, content: memoryview, offset: int) -> int:
        real(fd, content[: len(content) // 2], offset)
        raise Killed

    monkeypatch.setattr(os, "pwrite", half)
    for count in (1, 5, 50):
        with pytest.raises(Killed):
            _write(fd, _messages(count, "newer"))
        assert LastLists(fd).read() == former


def test_a_content_that_was_overwritten_meanwhile_is_not_believed(fd: int):
    _write(fd, _messages(5, "former"))
    os.pwrite(fd, b"xxxx", 40)
    assert LastLists(fd).read() == []


def test_a_header_that_names_more_than_there_is_holds_nothing(fd: int):
    _write(fd, _messages(2, "x"))
    os.pwrite(fd, (1 << 50).to_bytes(8, "little"), 8)
    assert LastLists(fd).read() == []


def test_the_database_file_is_remembered_beside_the_lists(fd: int):
    assert LastLists(fd).store_file is None
    _write(fd, _messages(2, "x"))
    LastLists(fd).store_file = (7, 1 << 40)
    assert LastLists(fd).store_file == (7, 1 << 40)
    assert LastLists(fd).read() == _messages(2, "x")
