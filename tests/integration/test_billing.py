"""Balances and billing pages between raw clients and raw mirrors; a key in a URL stays there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from router.process import control_questions
from tests.testkit.data_plane import DataPlane
from tests.testkit.legacy import PretendControl, answering, issue, plain, read, refusing
from tests.testkit.raw_http import ScriptedMirror, get, post, read_request

ON = {"legacy": True}
BEARER = "Authorization: Bearer sk-own"
UNKNOWN = refusing("404 Not Found", "Unknown path.")
Answers = Callable[[str], bytes | None]


def bills(total: str, used: str, place: str = "/v1") -> Answers:
    """A mirror with these amounts, as they are written."""

    def answer(target: str) -> bytes | None:
        if target == f"{place}/dashboard/billing/subscription":
            body = f'{{"object": "billing_subscription", "hard_limit_usd": {total}}}'
        elif target.startswith(f"{place}/dashboard/billing/usage?"):
            body = f'{{"object": "list", "total_usage": {used}}}'
        else:
            return None
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return f"{head}\r\n\r\n{body}".encode()

    return answer


class Scene:
    """A data plane, what its mirror was asked, and its control."""

    def __init__(self, plane: DataPlane, heads: list[bytes], control: PretendControl) -> None:
        self.plane = plane
        self.heads = heads
        self.control = control

    @property
    def targets(self) -> list[str]:
        return [head.split(b" ", 2)[1].decode() for head in self.heads]


@asynccontextmanager
async def scenery(answer: Answers, **more: Any) -> AsyncIterator[Scene]:
    heads: list[bytes] = []
    control = PretendControl()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            heads.append(head)
            writer.write(answer(head.split(b" ", 2)[1].decode()) or UNKNOWN)
            await writer.drain()

    async with ScriptedMirror(script) as mirror:
        tables = [mirror.table(api_key="sk-mirror")]
        async with DataPlane(tables, ON, more, questions=control.questions) as plane:
            yield Scene(plane, heads, control)


async def test_eighteen_dollars_less_eight_cents():
    async with scenery(bills("18.00", "8")) as here:
        for request in (plain("/pro/balance?apiKey=sk-own"), plain("/pro/balance", BEARER)):
            answer = await here.plane.ask(request)
            data = '{"total": 18.00, "balance": 17.92, "used": 0.08}'
            expected = f'{{"code": 200, "message": "执行成功", "data": {data}}}'
            assert (answer.status, answer.body.decode()) == (200, expected)
            assert answer["referrer-policy"] == "no-referrer"
            assert answer["cache-control"] == "no-store"
            assert answer["deprecation"] == "@1796083200"
        assert all(b"\r\nauthorization: Bearer sk-own\r\n" in head for head in here.heads)


async def test_the_mirror_is_asked_for_the_last_ninety_days():
    async with scenery(bills("1", "0")) as here:
        here.plane.context.wall = datetime(2028, 5, 29, 12, tzinfo=UTC).timestamp
        await here.plane.ask(plain("/pro/balance", BEARER))
        begin, end = "start_date=2028-02-29", "end_date=2028-05-30"
        assert here.targets == [
            "/v1/dashboard/billing/subscription",
            f"/v1/dashboard/billing/usage?{begin}&{end}",
        ]


async def test_a_longer_time_is_asked_for_in_windows():
    async with scenery(bills("100", "10.5"), legacy={"balance_days": 250}) as here:
        answer = await here.plane.ask(plain("/pro/balance", BEARER))
        assert read(answer)["data"]["used"] == 0.315
        assert len(here.targets) == 1 + 3
        today = datetime.now(UTC).date()
        assert f"start_date={today - timedelta(days=250)}&" in here.targets[1]


async def test_pages_without_v1_are_found():
    async with scenery(bills("5", "100", place="")) as here:
        answer = await here.plane.ask(plain("/pro/balance", BEARER))
        assert read(answer)["data"] == {"total": 5, "balance": 4, "used": 1}
        assert here.targets[0] == "/v1/dashboard/billing/subscription"
        assert here.targets[1] == "/dashboard/billing/subscription"


@pytest.mark.parametrize(
    ("instead", "status", "text"),
    [
        (refusing("401 Unauthorized", "Wrong key."), 401, "密钥无效。 Wrong key."),
        (refusing("403 Forbidden", "Session keys only."), 403, "没有权限。 Session keys only."),
        (UNKNOWN, 404, "没有找到。 Unknown path."),
        (
            answering({"hard_limit_usd": "much"}),
            502,
            "镜像出错。 The mirror's answer has no hard",
        ),
        (answering({}), 502, "镜像出错。 The mirror's answer has no hard_limit_usd."),
        (refusing("500 Internal Server Error", "x"), 500, "镜像出错。 x"),
    ],
)
async def test_errors_of_a_mirror_are_passed_on(instead: bytes, status: int, text: str):
    async with scenery(lambda target: instead) as here:
        answer = await here.plane.ask(plain("/pro/balance", BEARER))
        document = read(answer)
        assert (answer.status, document["data"]) == (status, None)
        assert document["message"].startswith(text)


async def test_a_mirror_whose_use_cannot_be_asked_has_no_balance():
    def answer(target: str) -> bytes | None:
        if "usage" in target:
            return refusing("403 Forbidden", "Not for you.")
        return bills("1", "1")(target)

    async with scenery(answer) as here:
        assert (await here.plane.ask(plain("/pro/balance", BEARER))).status == 403


@pytest.mark.parametrize(
    "request_",
    [
        plain("/pro/balance"),
        plain("/pro/balance?apiKey="),
        plain("/pro/balance?apiKey=a%0d%0ab"),
        plain("/pro/balance", "Authorization: Basic c2s="),
        plain("/pro/balance?apiKey=" + "k" * 513),
    ],
)
async def test_without_a_key_nobody_is_asked(request_: bytes):
    async with scenery(bills("1", "1")) as here:
        answer = await here.plane.ask(request_)
        assert (answer.status, read(answer)["code"]) == (401, 401)
        assert not here.heads


async def test_a_key_in_a_url_is_found_nowhere(capfd: pytest.CaptureFixture[str]):
    secret = "sk-in-the-url-7"
    for answer in (bills("1", "1"), lambda target: refusing("401 Unauthorized", "No.")):
        async with scenery(answer) as here:
            referer = f"Referer: https://page.example/?apiKey={secret}"
            request = plain(f"/pro/balance?apiKey={secret}", referer)
            told = await here.plane.ask(request)
            context = here.plane.context
            recent = context.recent_requests
            places = [
                told.body.decode(),
                repr(told.fields),
                repr(here.plane.finished),
                json.dumps(here.plane.totals.to_json()),
                repr([recent.find(end.request_id) for end in here.plane.finished]),
                repr(context.alerts.take()),
                repr(here.control.heard),
                *here.targets,
                *(
                    name
                    for head in here.heads
                    for name in head.decode().split("\r\n")[1:]
                    if not name.startswith("authorization:")
                ),
                *capfd.readouterr(),
            ]
            assert not [place for place in places if secret in place]
            assert here.plane.finished


async def test_the_ledger_knows_what_an_issued_key_has_left():
    async with scenery(bills("1", "1")) as here:
        key = issue(here.plane, "k1")
        here.control.accounts["k1"] = {
            "quota": 18_000_000_000,
            "cost": 80_000_000,
            "expires_at": None,
            "days": [("2026-11-02", "m", 70_000_000), ("2026-11-01", "m", 10_000_000)],
        }
        for request in (
            plain(f"/pro/balance?apiKey={key}"),
            plain("/pro/balance", f"Authorization: Bearer {key}"),
        ):
            told = read(await here.plane.ask(request))
            assert told["data"] == {"total": 18, "balance": 17.92, "used": 0.08}
            end = here.plane.finished[-1]
            assert (end.endpoint, end.status, end.mirror) == ("legacy_balance", 200, "")
        bearer = f"Authorization: Bearer {key}"
        for root in ("/dashboard", "/v1/dashboard", "/v1/v1/dashboard"):
            answer = await here.plane.ask(plain(f"{root}/billing/subscription", bearer))
            assert json.loads(answer.body)["hard_limit_usd"] == 18
            page = f"{root}/billing/usage?start_date=2026-11-01&end_date=2026-11-02"
            answer = await here.plane.ask(plain(page, bearer))
            assert json.loads(answer.body)["total_usage"] == 1, "the last day is no part of it"
            asked = here.control.heard[-1]
            assert (asked["key"], asked["first"]) == ("k1", "2026-11-01")
        answer = await here.plane.ask(plain("/dashboard/billing/credit_grants", bearer))
        assert json.loads(answer.body)["total_available"] == 17.92
        assert not here.heads, "no mirror was asked"
        assert key not in json.dumps(here.control.heard)


async def test_an_app_in_a_browser_may_read_its_billing_page():
    async with scenery(bills("1", "1")) as here:
        key = issue(here.plane, "k1")
        here.control.accounts["k1"] = {"quota": None, "cost": 0, "expires_at": 1.0, "days": []}
        origin, asks = "Origin: https://app.example", "Access-Control-Request-Method: GET"
        page = "/dashboard/billing/subscription"
        preflight = await here.plane.ask(plain(page, origin, asks, method="OPTIONS"))
        assert (preflight.status, preflight["access-control-allow-origin"]) == (204, "*")
        answer = await here.plane.ask(plain(page, origin, f"Authorization: Bearer {key}"))
        assert (answer.status, answer["access-control-allow-origin"]) == (200, "*")


async def test_errors_of_the_billing_pages_have_openais_shape(
    monkeypatch: pytest.MonkeyPatch,
):
    async with scenery(bills("1", "1")) as here:
        key = issue(here.plane, "k1")
        bearer = f"Authorization: Bearer {key}"
        answer = await here.plane.ask(plain("/dashboard/billing/usage?start_date=x", bearer))
        assert (answer.status, answer.error["code"]) == (400, "invalid_date")
        answer = await here.plane.ask(plain("/dashboard/billing/other", bearer))
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        assert "x-request-id" in answer
        monkeypatch.setattr(control_questions, "FIRST_REPLY", 0.01)
        here.control.silent = True
        answer = await here.plane.ask(plain("/dashboard/billing/subscription", bearer))
        assert (answer.status, answer["retry-after"]) == (503, "2")
        told = await here.plane.ask(plain("/pro/balance", bearer))
        assert (told.status, told["retry-after"]) == (503, "2")
        here.plane.context.keys.remove(["k1"])
        answer = await here.plane.ask(plain("/dashboard/billing/subscription", bearer))
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert [end.endpoint for end in here.plane.finished][-1] == "dashboard"
        told = await here.plane.ask(plain("/pro/balance", bearer))
        assert (told.status, read(told)["data"]) == (401, None)


async def test_guesses_at_keys_are_limited_and_can_lead_to_a_ban():
    limits = {"connections": 0, "requests_per_second": 0.01, "burst": 2}
    async with scenery(bills("1", "1"), limits=limits) as here:
        key = issue(here.plane)
        here.plane.context.keys.remove(["k1"])
        statuses = [
            (await here.plane.ask(plain(f"/pro/balance?apiKey={key}"))).status for _ in range(4)
        ]
        assert (statuses[0], statuses[-1]) == (401, 429)
        reasons = {row[1] for row in here.plane.context.alerts.take()}
        assert reasons & {"invalid_api_key", "rate_limit_exceeded"}


async def test_billing_requests_with_own_keys_are_forwarded_unchanged():
    async with scenery(bills("7", "7")) as here:
        for path in ("/dashboard/billing/subscription", "/v1/dashboard/billing/subscription"):
            answer = await here.plane.ask(get(path))
            assert json.loads(answer.body)["hard_limit_usd"] == 7
        key = issue(here.plane)
        other = post("/v1/dashboard/billing/subscription").replace(b"sk-x", key.encode())
        assert (await here.plane.ask(other)).status == 403
        assert here.targets == ["/v1/dashboard/billing/subscription"] * 2


async def test_a_used_up_quota_stays_the_reason_while_the_mirror_is_left_alone():
    spent = refusing("429 Too Many Requests", "You exceeded your quota.", "insufficient_quota")
    async with scenery(lambda target: spent) as here:
        for _ in range(3):
            answer = await here.plane.ask(post())
            assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
        assert answer.error["type"] == "insufficient_quota"
        assert answer["x-should-retry"] == "false"
        assert len(here.heads) == 1
        here.heads.clear()
        other = post().replace(b"sk-x", b"sk-other")
        assert (await here.plane.ask(other)).error["message"] == "You exceeded your quota."


async def test_preflights_of_unknown_paths_are_answered():
    async with scenery(bills("1", "1")) as here:
        fields = ("Origin: https://app.example", "Access-Control-Request-Method: POST")
        preflight = await here.plane.ask(plain("/wrong/chat", *fields, method="OPTIONS"))
        assert preflight.status == 204
        assert preflight["access-control-allow-origin"] == "*"
        assert "POST" in preflight["access-control-allow-methods"]
        answer = await here.plane.ask(plain("/wrong/chat", fields[0], method="POST"))
        assert (answer.status, answer["access-control-allow-origin"]) == (404, "*")
