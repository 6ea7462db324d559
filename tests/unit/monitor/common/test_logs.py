"""A traceback in the log shows where, never what: an exception may quote a key or a body."""

from __future__ import annotations

import json
import logging

import pytest

from monitor.common.log_writer import flush_all
from monitor.common.logs import JsonFormatter, LogConfig, TextFormatter, traceback_of
from router.forwarding.stats import Finished
from router.process.access_log import access_log

FINISHED = Finished(b"id", "192.0.2.1", b"GET", b"/v1/models", "a", "models", 200, "success",
                    False, 0, 0.1, 0, 2)  # fmt: skip
KEY = "sk-secret-of-a-caller"


def _record(error: BaseException) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__)
    return logging.LogRecord("control", logging.ERROR, __file__, 1, "guard failed", (), info)


def _raised() -> BaseException:
    try:
        try:
            int(KEY)
        except ValueError as error:
            raise RuntimeError(f"cannot read {KEY}") from error
    except RuntimeError as error:
        return error
    raise AssertionError("it is no number")


@pytest.mark.parametrize("formatter", [TextFormatter("control"), JsonFormatter("control")])
def test_where_an_exception_was_raised_is_logged_and_not_what_it_says(
    formatter: logging.Formatter,
):
    text = formatter.format(_record(_raised()))
    assert KEY not in text
    assert "RuntimeError" in text
    assert "ValueError" in text
    assert "int(KEY)" in text
    assert "caused by:" in text
    if isinstance(formatter, JsonFormatter):
        assert json.loads(text)["exception"].endswith("ValueError")


def test_the_systems_words_for_an_error_number_are_told():
    error = FileNotFoundError(2, "No such file or directory", f"/tmp/{KEY}")
    assert traceback_of(error) == "FileNotFoundError: No such file or directory"


def test_the_members_of_a_group_are_told_and_a_long_chain_is_cut():
    group = ExceptionGroup(KEY, [ValueError(KEY), KeyError(KEY)])
    told = traceback_of(group)
    assert told.splitlines() == [
        "ExceptionGroup",
        "in the group:",
        "ValueError",
        "in the group:",
        "KeyError",
    ]
    error: BaseException = ValueError(KEY)
    for _ in range(100):
        wrapper = RuntimeError(KEY)
        wrapper.__cause__ = error
        error = wrapper
    assert traceback_of(error).count("RuntimeError") == 8


def test_an_access_log_that_cannot_be_written_is_told_once_and_can_be_switched_off(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    write = access_log(LogConfig(access="/dev/full"), "worker-0")
    assert write is not None
    for _ in range(3):
        write(FINISHED)
    assert flush_all(10)
    assert access_log(LogConfig(), "worker-0") is None
    assert caplog.messages == ["requests are not logged: No space left on device"]
    assert capsys.readouterr().err == ""
