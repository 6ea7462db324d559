"""A worker that is started when what is installed has changed."""

import pytest

from monitor.common.compiled import form
from router.process.worker import tell_other_form


def test_another_form_than_the_supervisors_is_told_with_its_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "name", "pure")
    monkeypatch.setattr(form, "reason", "head.py changed since")
    tell_other_form("pure")
    assert caplog.messages == []
    tell_other_form("compiled")
    assert caplog.messages == [
        "running pure (head.py changed since), where the supervisor is compiled: start it anew"
    ]
