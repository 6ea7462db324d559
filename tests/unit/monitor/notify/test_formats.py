"""Shapes and answers of the services, as their documentation has them."""

import base64
import json
import subprocess
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from monitor.common.languages import Text
from monitor.common.settings import SettingsError, read
from monitor.notify.batching import Due
from monitor.notify.config import Kind, NotifyConfig
from monitor.notify.formats import DEFAULT_PAUSE, judge, post_of
from monitor.notify.message import Message, Style, compose
from monitor.notify.notice import Notice

TOKENS = (
    "https://hooks.example.com/services/T000/B000/t0k3nInThePath",
    "https://hooks.example.com/robot?access_token=t0k3nInThePath",
    "https://hooks.example.com/bot12345:t0k3nInThePath/sendMessage?key=t0k3nInThePath",
)
NOW = 1_764_400_000.123
HOSTILE = (
    '<@everyone> <!channel> <at user_id="all">所有人</at> *b* [x](http://e) & \x1b[31m\u202e\n2'
)


def message(*texts: str, language: str = "en", link: str = "") -> Message:
    due = [Due(Notice(Kind.down, f"m{i}", NOW, Text(t, t)), 1) for i, t in enumerate(texts)]
    return compose(due, Style(language, "Asia/Shanghai", "status here", link), NOW)


def config(format: str, **more: Any) -> NotifyConfig:
    default = {"to": ["-100123"]} if format == "telegram" else {}
    url = "https://hooks.example.com/x?token=t"
    return read(NotifyConfig, {"url": url, "format": format, **default, **more})


def body(sent: Message, to: NotifyConfig) -> Any:
    return json.loads(post_of(sent, to, NOW).body)


STRING = {"type": "string", "minLength": 1}


def only(**fields: Any) -> dict[str, Any]:
    """An object with exactly these."""
    required = [name for name in fields if name not in ("timestamp", "sign")]
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


SCHEMAS = {
    # open.feishu.cn, "Custom bot usage guide": post messages, signature verification
    "feishu": only(
        timestamp={"type": "string", "pattern": r"^\d{10}$"},
        sign=STRING,
        msg_type={"const": "post"},
        content=only(
            post=only(
                zh_cn=only(
                    title=STRING,
                    content={
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "array",
                            "items": only(tag={"const": "text"}, text=STRING),
                        },
                    },
                )
            )
        ),
    ),
    # open.dingtalk.com, "Custom robot message types"
    "dingtalk": only(msgtype={"const": "text"}, text=only(content=STRING)),
    # developer.work.weixin.qq.com/document/path/91770
    "wecom": only(msgtype={"const": "text"}, text=only(content=STRING)),
    # core.telegram.org/bots/api#sendmessage
    "telegram": only(
        chat_id=STRING, text=STRING, link_preview_options=only(is_disabled={"const": True})
    ),
    # api.slack.com/messaging/webhooks
    "slack": only(text=STRING, unfurl_links={"const": False}),
}


@pytest.mark.parametrize("format", SCHEMAS)
@pytest.mark.parametrize("texts", [("hk is down",), (HOSTILE, "b"), ("长" * 9000,) * 30])
def test_a_message_has_the_documented_shape_and_fits(format: str, texts: tuple[str, ...]):
    secret = "SECabc" if format == "feishu" else ""
    for language in ("zh", "en", "both"):
        sent = body(message(*texts, language=language), config(format, secret=secret))
        jsonschema.validate(sent, SCHEMAS[format])
        whole = json.dumps(sent, ensure_ascii=False).encode()
        assert len(whole) < 20_000
    if format == "wecom":
        assert len(sent["text"]["content"].encode()) <= 2048
    if format == "telegram":
        assert len(sent["text"].encode("utf-16-le")) // 2 <= 4096


def test_nothing_in_a_text_becomes_a_mention_markup_or_another_line():
    lines = message(HOSTILE).lines
    assert len(lines) == 1
    assert not set("\n\x1b") & set(lines[0])
    assert "<" not in body(message(HOSTILE), config("slack"))["text"]
    assert "<@" not in body(message(HOSTILE), config("wecom"))["text"]["content"]
    assert "parse_mode" not in body(message(HOSTILE), config("telegram"))


def openssl_hmac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 by another implementation."""
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}"]
    return subprocess.run([*command, "-binary"], input=data, capture_output=True, check=True).stdout


def test_signatures_are_those_that_the_services_compute():
    sent = body(message("a"), config("feishu", secret="SECx"))
    key = f"{sent['timestamp']}\nSECx".encode()
    assert base64.b64decode(sent["sign"]) == openssl_hmac(key, b"")

    query = parse_qs(
        urlsplit(post_of(message("a"), config("dingtalk", secret="SECx"), NOW).url).query
    )
    assert (query["token"], query["timestamp"]) == (["t"], ["1764400000123"])
    signed = openssl_hmac(b"SECx", b"1764400000123\nSECx")
    assert base64.b64decode(query["sign"][0]) == signed

    post = post_of(message("a"), config("json", secret="SECx"), NOW)
    stamp, given = post.fields["X-Mirrorgate-Timestamp"], post.fields["X-Mirrorgate-Signature"]
    assert given == "sha256=" + openssl_hmac(b"SECx", f"{stamp}.".encode() + post.body).hex()
    assert "X-Mirrorgate-Signature" not in post_of(message("a"), config("json"), NOW).fields


def test_a_webhook_of_ones_own_gets_plain_values():
    sent = body(message("a", link="https://status.example.com/"), config("json"))
    assert sent["type"] == "mirrorgate.notification"
    (change,) = sent["changes"]
    assert change == {
        "kind": "down",
        "subject": "m0",
        "level": "",
        "ended": False,
        "at": NOW,
        "count": 1,
        "text": {"zh": "a", "en": "a"},
    }
    assert sent["text"].splitlines()[1:] == [
        "11-29 15:06:40 CST a",
        "https://status.example.com/",
    ]


@pytest.mark.parametrize(
    ("format", "status", "retry_after", "answer", "taken", "permanent", "pause"),
    [
        ("json", 204, "", "", True, False, None),
        ("json", 302, "", "", False, True, None),
        ("json", 404, "", "no such hook", False, True, None),
        ("json", 500, "", "<html>", False, False, None),
        ("json", 503, "7", "", False, False, 7.0),
        ("slack", 200, "", "ok", True, False, None),
        ("slack", 429, "30", "", False, False, 30.0),
        ("slack", 429, "soon", "", False, False, DEFAULT_PAUSE),
        ("slack", 403, "", "invalid_token", False, True, None),
        ("feishu", 200, "", '{"code": 0, "msg": "success"}', True, False, None),
        ("feishu", 200, "", '{"StatusCode": 0}', True, False, None),
        ("feishu", 200, "", '{"code": 19021, "msg": "sign match fail"}', False, True, None),
        ("feishu", 200, "", '{"code": 11232, "msg": "slow"}', False, False, DEFAULT_PAUSE),
        ("feishu", 200, "", "<html>portal</html>", False, False, None),
        ("dingtalk", 200, "", '{"errcode": 0, "errmsg": "ok"}', True, False, None),
        ("dingtalk", 200, "", '{"errcode": 310000, "errmsg": "sign"}', False, True, None),
        ("dingtalk", 200, "", '{"errcode": 130101, "errmsg": "fast"}', False, False, DEFAULT_PAUSE),
        ("dingtalk", 200, "", '{"errcode": -1, "errmsg": "busy"}', False, False, None),
        ("wecom", 200, "", '{"errcode": 0}', True, False, None),
        ("wecom", 200, "", '{"errcode": 93000, "errmsg": "invalid key"}', False, True, None),
        ("wecom", 200, "", '{"errcode": 45009}', False, False, DEFAULT_PAUSE),
        ("telegram", 200, "", '{"ok": true, "result": {}}', True, False, None),
        ("telegram", 400, "", '{"ok": false, "description": "chat not found"}', False, True, None),
        ("telegram", 401, "", '{"ok": false}', False, True, None),
        (
            "telegram",
            429,
            "",
            '{"ok": false, "parameters": {"retry_after": 12}}',
            False,
            False,
            12.0,
        ),
    ],
)
def test_answers_are_read_as_the_service_means_them(
    format: str,
    status: int,
    retry_after: str,
    answer: str,
    taken: bool,
    permanent: bool,
    pause: float | None,
):
    outcome = judge(config(format), status, retry_after, answer.encode())
    assert (not outcome.problem, outcome.permanent, outcome.pause) == (taken, permanent, pause)
    assert "\n" not in outcome.problem


@pytest.mark.parametrize("answer", [b"[]", b"null", b'{"code": []}', b"\xff", b"[" * 10_000])
@pytest.mark.parametrize("format", ["feishu", "dingtalk", "wecom", "telegram", "slack", "json"])
@pytest.mark.parametrize("status", [200, 429, 500])
def test_an_answer_that_nobody_documented_is_no_exception(format: str, answer: bytes, status: int):
    judge(config(format), status, "", answer)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "https://h/x", "format": "telegram"}, "to: "),
        ({"url": "https://h/x", "format": "email", "to": ["a@b.c"]}, "url: "),
        ({"url": "smtp://mail.example.com", "to": ["a@b.c"]}, "url: "),
        ({"url": "smtp://mail.example.com", "format": "email", "to": ["nobody"]}, "to: "),
        ({"url": "smtp://:25", "format": "email", "to": ["a@b.c"]}, "url: "),
        ({"url": "https://h/x", "on": ["donw"]}, 'did you mean "down"?'),
        ({"url": "https://h/x", "quiet": "40d"}, "quiet: "),
        ({"url": "https://h/x", "format": "feishy"}, "format: "),
    ],
)
def test_a_slip_is_named(given: dict[str, Any], said: str):
    with pytest.raises(SettingsError) as caught:
        read(NotifyConfig, given)
    assert said in str(caught.value)


@pytest.mark.parametrize("url", TOKENS)
@pytest.mark.parametrize("format", ["json", "feishu", "telegram"])
@pytest.mark.parametrize("status", [200, 404, 502])
def test_words_that_quote_the_url_do_not_show_its_token(url: str, format: str, status: int):
    to = config(format, url=url)
    parts = urlsplit(url)
    quoted = f"Cannot POST {parts.path}?{parts.query} {url} t0k3nInThePath "
    for body in (
        (quoted * 5).encode(),
        json.dumps({"code": 19001, "ok": False, "msg": quoted * 5}).encode(),
        json.dumps({"code": 19001, "ok": False, "description": quoted * 5}).encode(),
    ):
        assert "t0k3n" not in judge(to, status, "", body).problem


def test_an_answer_that_is_no_service_s_is_called_that_and_tried_again():
    outcome = judge(config("feishu"), 200, "", b"<html>sign in to the network</html>")
    assert ("proxy or a portal" in outcome.problem, outcome.permanent) == (True, False)


def test_credentials_that_are_not_taken_are_called_that_and_not_shown():
    to = {
        "url": "https://me:pa55word@hooks.example.com/x",
        "proxy": "http://me:pa55word@127.0.0.1:3",
    }
    with pytest.raises(SettingsError) as caught:
        read(NotifyConfig, to)
    faults = [str(fault) for fault in caught.value.faults]
    assert len(faults) == 2
    for fault in faults:
        assert "without credentials" in fault
        assert "pa55word" not in fault
