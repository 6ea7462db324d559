"""Answers that are well-formed and bad all the same, in the terms of `hostile_modes`."""

from __future__ import annotations

from tests.testkit.hostile_modes import Mode

_JSON = b"Content-Type: application/json\r\n"


def _answer(status: bytes, fields: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, len(body))
    return head + body


def _error(code: bytes, message: bytes = b"x") -> bytes:
    return b'{"error": {"message": "%b", "type": "%b", "code": "%b"}}' % (message, code, code)


_LOGIN = b"<!doctype html><title>Sign in</title><form action=/login>"
_EMBEDDED = b'{"error": {"message": "quota", "type": "insufficient_quota"}}'
ANSWERS = [
    Mode("an error in a 200", _answer(b"200 OK", _JSON, _EMBEDDED), ("relay",), reusable=True,
         body=_EMBEDDED, case="error_json_in_200"),
    Mode("a login page in a 200", _answer(b"200 OK", b"Content-Type: text/html\r\n", _LOGIN),
         ("relay",), reusable=True, body=_LOGIN, case="login_page_in_200"),
    Mode("a 500 from what the probes found well", _answer(b"500 X", _JSON, _error(b"server_error")),
         ("relay",), reusable=True, status=500, body=_error(b"server_error"),
         case="healthy_models_500_completions"),
    Mode("a 429 that says when to come back", _answer(
        b"429 X", _JSON + b"Retry-After: 7\r\n", _error(b"rate_limit_exceeded")), ("relay",),
         reusable=True, status=429, has=(b"retry-after: 7",), case="429_with_retry_after"),
    *(
        Mode(f"a {status.decode()} for the caller's own key", _answer(
            status, _JSON, _error(b"invalid_api_key", b"Incorrect: sk-x")), ("relay",),
             reusable=True, has=(b"sk-x",), case="key_refused")
        for status in (b"401 X", b"403 X")
    ),
    *(
        Mode(f"a redirect to {where.decode()}", _answer(
            b"307 X", b"Location: %b\r\n" % where, b""), ("relay",), reusable=True, status=307,
             has=(where,), case="redirect_never_followed")
        for where in (b"http://169.254.169.254/latest/meta-data/", b"http://127.0.0.1:1/",
                      b"file:///etc/passwd")
    ),
    Mode("a head that comes byte by byte", b"HTTP/1.1 200 OK\r\nX: ", ("gateway",), "drip",
         more=b"y", timeouts=(("first_byte", "300ms"),), status=504, case="headers_1_byte_per_s"),
]  # fmt: skip
