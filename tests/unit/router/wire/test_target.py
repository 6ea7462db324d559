"""Request targets: what is refused, what is mended, what is passed on as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.target import (
    BadTarget,
    check,
    endpoint_of,
    forward_target,
    origin_form,
    valid_host,
)

FORWARDED = (b"/v1/",)


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/../x", b"/v1/..", b"/..", b"/.", b"/v1/./x", b"/v1/%2e%2e/x", b"/v1/.%2E/x",
        b"/v1/..%2fx", b"/v1/x%2f..", b"/v1/..;a=b/x", b"/v1/.;/x", b"/v1/..%3bx", b"/v1/x%00",
        b"/v1/x%0a", b"/v1/x%0D", b"/v1/x%7f", b"/v1/x%5cy", b"/v1/x\\y", b"/v1/x y", b"/v1/x\x00",
        b"/v1/x#y", b"/v1/x?y#z", b"/v1/%", b"/v1/%4", b"/v1/%zz", b"/v1/x?%", b"/v1/x?%1",
        b"/v1/\xff", b"/v1/<", b'/v1/"', b"/v1/{}", b"/v1/|", b"/v1/^", b"/v1/`", b"v1/x", b"*",
        b"",
    ],
)  # fmt: skip
def test_a_target_that_may_mean_another_path_to_somebody_else_is_refused(target: bytes) -> None:
    with pytest.raises(BadTarget):
        check(target)


@pytest.mark.parametrize(
    "target",
    [
        b"/", b"/v1/models", b"/v1/a..b/.c/d.", b"/v1/...", b"/v1/a%20b%2Fc", b"/v1/x?a=../..",
        b"/v1/x?a=%00%0a%5c%2e%2e", b"/v1/x?m[k]=v&a=b", b"/v1/a:b@c;d,e=f!$&'()*+~_-", b"/v1//x",
    ],
)  # fmt: skip
def test_a_target_with_one_meaning_passes(target: bytes) -> None:
    check(target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/v1/x", b"/v1/x"),
        (b"http://host/v1/x?a", b"/v1/x?a"),
        (b"HTTPS://host:1", b"/"),
        (b"http://host?a", b"/?a"),
    ],
)
def test_an_absolute_target_gives_its_path(target: bytes, expected: bytes) -> None:
    assert origin_form(target) == expected


@pytest.mark.parametrize(
    "target", [b"*", b"host:443", b"ftp://h/x", b"http:///x", b"http://u@h/x", b"v1/x", b""]
)
def test_other_forms_of_targets_are_refused(target: bytes) -> None:
    with pytest.raises(BadTarget):
        origin_form(target)


@pytest.mark.parametrize(
    "host", [b"a", b"a.b:80", b"127.0.0.1", b"[::1]", b"[2001:db8::1]:8080", b"my_host", b"a~b"]
)
def test_hosts_are_valid(host: bytes) -> None:
    assert valid_host(host)


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a/b", b"a@b", b"a,b", b"a:x", b"a:", b":80", b"::1", b"[::1", b"\xff", b"a\n"],
)
def test_invalid_hosts_are_refused(host: bytes) -> None:
    assert not valid_host(host)


@pytest.mark.parametrize(
    ("target", "forgiving", "strict"),
    [
        (b"/v1/models", b"/v1/models", b"/v1/models"),
        (b"/v1/v1/models", b"/v1/models", b"/v1/v1/models"),
        (b"/v1/v1/v1/models", b"/v1/models", b"/v1/v1/v1/models"),
        (b"//v1/models", b"/v1/models", None),
        (b"/chat/completions?a=b", b"/v1/chat/completions?a=b", None),
        (b"/dashboard/billing/usage?a=b", b"/v1/dashboard/billing/usage?a=b", None),
        (b"/agents/x", b"/v1/agents/x", None),
        (b"/chatkit/sessions", b"/v1/chatkit/sessions", None),
        (b"/models?x", b"/v1/models?x", None),
        (b"/models", b"/v1/models", None),
        (b"/healthz", None, None),
        (b"//evil/v1/models", None, None),
        (b"/v1", None, None),
        (b"/modelsx", None, None),
        (b"/", None, None),
    ],
)
def test_slips_in_a_base_url_are_mended_only_when_wanted(
    target: bytes, forgiving: bytes | None, strict: bytes | None
) -> None:
    assert forward_target(target, FORWARDED, True) == forgiving
    assert forward_target(target, FORWARDED, False) == strict


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        (b"/v1/chat/completions", "chat"),
        (b"/v1/models?x=y", "models"),
        (b"/v1/files/abc", "files"),
        (b"/v1/messages", "messages"),
        (b"/v1/messages/count_tokens?beta=true", "messages"),
        (b"/v1/messages/batches", "batches"),
        (b"/v1/anything", "other"),
        (b"/mj/x", "other"),
    ],
)
def test_an_endpoint_is_one_of_a_closed_set(target: bytes, endpoint: str) -> None:
    assert endpoint_of(target) == endpoint


@given(st.lists(st.sampled_from([b"..", b".", b"a", b"%2e", b"%2E%2e", b"%2f", b"/", b";"])))
def test_no_accepted_path_leaves_its_prefix_when_its_dots_are_resolved(pieces: list[bytes]) -> None:
    path = b"/v1/" + b"".join(pieces)
    try:
        check(path)
    except BadTarget:
        return
    segments = path.lower().replace(b"%2e", b".").replace(b"%2f", b"/").split(b"/")
    assert not {b".", b".."} & {segment.partition(b";")[0] for segment in segments}
