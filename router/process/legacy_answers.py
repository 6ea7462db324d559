"""Shapes of the legacy interface: its answers, its errors in two languages, and its headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from router.forwarding.context import WorkerContext
from router.process.inner_request import InnerResponse
from router.wire import cors
from router.wire.error_response import Problem

DONE = "执行成功"
_DEPRECATED_AT = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
_PASSED = (
    "retry-after",
    "x-should-retry",
    "x-request-id",
    "x-mirrorgate-request-id",
    "x-mirrorgate-mirror",
    "x-mirrorgate-attempts",
    "server-timing",
)
"""Fields of the response behind an answer that go with it."""
_CHINESE = {
    "insufficient_quota": "额度已用完。",
    "model_not_found": "没有这个模型。",
    "client_banned": "此地址已被封禁。",
    "context_length_exceeded": "上下文过长。",
    "queue_full": "所有镜像都已满载，请稍后再试。",
    "no_mirror_available": "暂时没有可用的镜像，请稍后再试。",
    "too_many_connections": "同时进行的请求过多，请稍后再试。",
}
_CHINESE_OF_STATUS = {
    400: "请求无效。",
    401: "密钥无效。",
    403: "没有权限。",
    404: "没有找到。",
    405: "请求方法不对。",
    408: "请求超时。",
    413: "请求过大。",
    415: "不支持这种请求格式。",
    429: "请求过于频繁，请稍后再试。",
    500: "镜像出错。",
    502: "镜像出错。",
    503: "服务暂时不可用，请稍后再试。",
    504: "镜像响应超时。",
}
_OTHERWISE = "出错了。"
BROKEN_OFF = "The mirror's answer broke off or was too large. Try again."


class Fault(Exception):
    """An answer of the legacy interface that is an error."""

    def __init__(
        self, status: int, message: str, code: str = "", fields: Mapping[str, str] | None = None
    ) -> None:
        """`message` is the English sentence; `code` is one of OpenAI's shape, if there was one."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.fields = dict(fields or {})

    @property
    def sentence(self) -> str:
        """The message in Chinese and English."""
        chinese = _CHINESE.get(self.code) or _CHINESE_OF_STATUS.get(self.status, _OTHERWISE)
        return f"{chinese} {self.message}"


def fault_of(response: InnerResponse) -> Fault:
    """The error that a response means."""
    if not response.status:
        return Fault(502, BROKEN_OFF)
    message, code = "", ""
    try:
        error = json.loads(response.body)["error"]
        said = error if isinstance(error, str) else error["message"]
        message = said if isinstance(said, str) else ""
        code = str(error.get("code") or error.get("type") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    status = response.status if response.status >= 400 else 502
    return Fault(
        status, message or f"The mirror answered {response.status}.", code, passed(response)
    )


def fault_of_problem(problem: Problem) -> Fault:
    """An error of ours in the legacy shape."""
    fields = {} if problem.retry_after is None else {"retry-after": str(problem.retry_after)}
    return Fault(problem.status, problem.message, problem.code, fields)


def passed(response: InnerResponse) -> dict[str, str]:
    """The fields of a response that its answer has, too."""
    return {name: value for name in _PASSED if (value := response.fields.get(name)) is not None}


def answer(
    context: WorkerContext,
    origin: bytes | None,
    successor: str,
    fields: Mapping[str, str],
    body: str,
    status: int = 200,
) -> web.Response:
    """An answer of the legacy interface to a page of this origin, if it is one; `successor` is the
    path that takes its place."""
    given = {
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",  # a key may stand in the query
        **deprecation(successor, context.config.legacy.sunset, context.config.public_url),
        **fields,
    }
    for name, value in cors.response_fields(origin, context.router.cors_origins):
        given[name.decode()] = value.decode("latin-1")
    return web.Response(
        body=body.encode("utf-8", "replace"),
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers=given,
    )


def done(data: str, **more: Any) -> str:
    """The body of a success; `data` is JSON already."""
    rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in more.items())
    return f'{{"code": 200, "message": "{DONE}", "data": {data}{rest}}}'


def failed(fault: Fault) -> str:
    """The body of an error."""
    body = {"code": fault.status, "message": fault.sentence, "data": None}
    return json.dumps(body, ensure_ascii=False)


def deprecation(successor: str, sunset: str, public_url: str) -> dict[str, str]:
    """The fields that say that there is something newer (RFC 9745, RFC 8594, RFC 8288)."""
    links = [f'<{successor}>; rel="successor-version"']
    if public_url:
        links.append(f'<{public_url.rstrip("/")}/docs>; rel="deprecation"; type="text/html"')
    fields = {"deprecation": f"@{_DEPRECATED_AT}", "link": ", ".join(links)}
    if sunset:
        day = datetime.combine(date.fromisoformat(sunset), time(), UTC)
        fields["sunset"] = format_datetime(day, usegmt=True)
    return fields
