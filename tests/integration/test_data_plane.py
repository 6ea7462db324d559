"""One request's way through a worker, on real sockets."""

from __future__ import annotations

import asyncio

import pytest

from monitor.health.snapshot import State
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import ANSWER, OK, ScriptedMirror, answering, get, post, read_request


def _refusing() -> dict[str, object]:
    return {"id": "dead", "url": "http://127.0.0.1:1", "addresses": ["127.0.0.1"]}


async def test_a_request_reaches_the_mirror_as_it_came_and_its_answer_the_client() -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(post("/v1/chat/completions", b'{"a": 1}', "X-Custom: kept"))
    head, body = seen[0]
    assert body == b'{"a": 1}'
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Custom: kept\r\n" in head
    assert b"authorization: Bearer sk-x\r\n" in head
    assert (answer.status, answer.body, answer["x-mirrorgate-mirror"]) == (200, ANSWER, "a")
    assert "x-mirrorgate-attempts" not in answer
    assert plane.in_flight == 0
    assert [(e.mirror, e.status, e.outcome) for e in plane.finished] == [("a", 200, "success")]
    bytes_counted = [plane.totals.get("mirrorgate_bytes", (way,)) for way in ("received", "sent")]
    assert bytes_counted == [8, len(ANSWER)]


async def test_the_mirrors_own_path_comes_before_the_request_path() -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror:
        table = mirror.table(url=f"http://127.0.0.1:{mirror.port}/openai/")
        async with DataPlane([table]) as plane:
            await plane.ask(get("/v1/models?limit=3"))
    assert seen[0][0].startswith(b"GET /openai/v1/models?limit=3 HTTP/1.1\r\n")


async def test_a_refused_connection_moves_to_another_mirror() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([_refusing(), mirror.table(weight=0.001)]) as plane:
            answer = await plane.ask(post())
            assert answer.status == 200
            assert answer["x-mirrorgate-attempts"] == "2"
            assert plane.suspected == ["dead"]
            assert plane.totals.get("mirrorgate_requests_rescued") == 1
            assert plane.totals.get("mirrorgate_retries", ("connect",)) == 1


async def test_when_no_mirror_can_be_reached_the_sdk_is_told_not_to_multiply_attempts() -> None:
    async with DataPlane([_refusing(), {**_refusing(), "id": "too"}]) as plane:
        answer = await plane.ask(post())
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert answer["x-should-retry"] == "false"
        assert "dead" in answer.error["message"]
        assert plane.in_flight == 0
        assert plane.totals.get("mirrorgate_retries", ("connect",)) == 1


async def test_an_sdk_may_retry_a_request_that_was_tried_once() -> None:
    async with DataPlane([_refusing()]) as plane:
        answer = await plane.ask(post())
        assert answer.status == 502
        assert not [name for name, _ in answer.fields if name == "x-should-retry"]
        assert plane.totals.get("mirrorgate_retries", ("connect",)) == 0


async def test_without_a_mirror_in_rotation_the_client_is_told_to_come_back() -> None:
    async with DataPlane([_refusing()]) as plane:
        plane.health(dead=State.down)
        answer = await plane.ask(get())
    assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
    assert int(answer["retry-after"]) > 0


async def test_a_mirror_that_is_down_gets_nothing() -> None:
    async with ScriptedMirror(answering(OK), "a") as a, ScriptedMirror(answering(OK), "b") as b:
        async with DataPlane([a.table(), b.table()]) as plane:
            plane.health(a=State.down, b=State.up)
            answers = [await plane.ask(get()) for _ in range(5)]
    assert {answer["x-mirrorgate-mirror"] for answer in answers} == {"b"}
    assert a.connections == 0


async def test_a_key_goes_only_where_it_is_understood() -> None:
    async with ScriptedMirror(answering(OK), "a") as a, ScriptedMirror(answering(OK), "b") as b:
        mirrors = [a.table(client_keys=["sk-*"]), b.table(client_keys=["hk-*"])]
        async with DataPlane(mirrors) as plane:
            for _ in range(5):
                assert (await plane.ask(get()))["x-mirrorgate-mirror"] == "a"
            refused = await plane.ask(get().replace(b"sk-x", b"zz-x"))
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert "hk-*" in refused.error["message"]
    assert b.connections == 0


async def test_a_request_without_a_key_is_refused_with_what_is_accepted() -> None:
    async with DataPlane([_refusing()]) as plane:
        answer = await plane.ask(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert "Authorization: Bearer" in answer.error["message"]


async def test_an_anonymous_caller_uses_the_mirrors_key_and_never_sees_it() -> None:
    seen: list[tuple[bytes, bytes]] = []
    router = {"callers": ["anonymous"], "cors_origins": []}
    async with ScriptedMirror(answering(OK, seen)) as mirror:
        async with DataPlane([mirror.table(api_key="sk-mirror")], router) as plane:
            answer = await plane.ask(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"authorization: Bearer sk-mirror\r\n" in seen[0][0]
    assert not any("sk-mirror" in value for _, value in answer.fields)


async def test_a_connection_that_went_stale_is_replaced_without_blame() -> None:
    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)  # the second request of a connection is never answered

    async with ScriptedMirror(one_answer) as mirror, DataPlane([mirror.table()]) as plane:
        for _ in range(3):
            assert (await plane.ask(post())).status == 200
    assert plane.suspected == []


async def test_a_kept_connection_that_ends_late_was_not_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mirror had the request for long enough to act upon it: it is not sent again."""
    monkeypatch.setattr("router.forwarding.response.STALE_WITHIN", -1.0)

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)

    async with ScriptedMirror(one_answer) as mirror, DataPlane([mirror.table()]) as plane:
        assert (await plane.ask(post())).status == 200
        assert (await plane.ask(post())).status == 502
        assert mirror.connections == 1


async def test_an_unforeseen_fault_while_connecting_does_not_leave_the_client_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("router.upstream.opening.connect", breaks)
    async with DataPlane([_refusing()]) as plane:
        answer = await plane.ask(post())
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert plane.in_flight == 0


@pytest.mark.parametrize(
    ("path", "connections"),
    [("/v1/images/generations", [1, 0]), ("/v1/chat/completions", [1, 1])],
)
async def test_an_ambiguous_request_is_repeated_once_or_never(
    path: str, connections: list[int]
) -> None:
    async def takes_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with ScriptedMirror(takes_and_closes) as mirror, ScriptedMirror(answering(OK), "b") as b:
        async with DataPlane([mirror.table(), b.table(weight=0.001)]) as plane:
            answer = await plane.ask(post(path))
            repeats = connections[1]
            assert plane.totals.get("mirrorgate_retries", ("broken",)) == repeats
            assert plane.totals.get("mirrorgate_ambiguous_retries") == repeats
    assert answer.status == (200 if repeats else 502)
    assert [mirror.connections, b.connections] == connections


async def test_an_upload_does_not_take_a_connection_that_waited() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        await plane.ask(get())
        upload = post("/v1/files", b"x" * 100, "X: y").replace(b"application/json", b"text/plain")
        assert (await plane.ask(upload)).status == 200
        assert mirror.connections == 2


async def test_a_chunked_upload_larger_than_what_is_kept_arrives_whole() -> None:
    seen: list[tuple[bytes, bytes]] = []
    body = bytes(range(256)) * 4000
    pieces = [body[i : i + 50_000] for i in range(0, len(body), 50_000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    head = (
        b"POST /v1/files HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer sk-x\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        assert (await plane.ask(head + chunks)).status == 200
    assert seen[0][1] == body


async def test_a_json_body_larger_than_what_is_kept_is_streamed() -> None:
    seen: list[tuple[bytes, bytes]] = []
    body = b'{"x": "' + b"y" * 300_000 + b'"}'
    async with ScriptedMirror(answering(OK, seen)) as mirror:
        async with DataPlane([mirror.table()], {"replay_body": "100KiB"}) as plane:
            assert (await plane.ask(post(body=body))).status == 200
            chunked = post(body=b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            assert (await plane.ask(chunked + chunk)).status == 200
    assert [request[1] for request in seen] == [body, body]


async def test_a_body_above_the_limit_is_refused_by_length_and_by_count() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table()], {"max_body": 1000}) as plane:
            answer = await plane.ask(post(body=b"x" * 1001))
            assert (answer.status, answer.error["code"]) == (413, "request_too_large")
            head = post("/v1/files", b"").replace(
                b"Content-Length: 0", b"Transfer-Encoding: chunked"
            )
            answer = await plane.ask(head + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
            assert answer.status == 413
            assert plane.in_flight == 0


async def test_events_pass_one_by_one_as_they_come() -> None:
    go_on = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        await go_on.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
        await read_request(reader)

    async with ScriptedMirror(stream) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(post())
        await client.head()
        assert await client.chunk() == b"data: 1\n\n"
        go_on.set()
        assert await client.chunk() == b"data: 2\n\n"
        assert await client.chunk() == b""
        assert plane.finished[0].stream


async def test_a_banned_client_is_refused_and_told_why() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table()], more={"contact": "ops@example.com"}) as plane:
            plane.context.bans.add([("127.0.0.1/32", None, "b1", "too greedy")])
            answer = await plane.ask(get())
            assert (answer.status, answer.error["code"]) == (403, "client_banned")
            assert "too greedy" in answer.error["message"]
            assert "ops@example.com" in answer.error["message"]
            assert answer["x-request-id"]
            from_page = await plane.ask(get("/v1/models", "Origin: https://app"))
            assert from_page["access-control-allow-origin"] == "*"
            assert (await plane.ask(get("/"))).status == 403
    assert mirror.connections == 0


async def test_a_model_goes_to_the_mirror_that_has_it() -> None:
    async with ScriptedMirror(answering(OK), "a") as a, ScriptedMirror(answering(OK), "b") as b:
        async with DataPlane([a.table(models=["gpt-4"]), b.table(models=["o3"])]) as plane:
            for _ in range(4):
                answer = await plane.ask(post(body=b'{"messages": [], "model": "o3"}'))
                assert answer["x-mirrorgate-mirror"] == "b"
            unknown = await plane.ask(post(body=b'{"model": "gpt-9"}'))
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


async def test_a_browser_app_may_call_and_a_mirror_has_no_say_in_it() -> None:
    answer_with_cors = OK.replace(b"\r\n\r\n", b"\r\nAccess-Control-Allow-Origin: evil\r\n\r\n")
    async with ScriptedMirror(answering(answer_with_cors)) as mirror:
        async with DataPlane([mirror.table()]) as plane:
            preflight = await plane.ask(
                b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: https://app\r\n"
                b"Access-Control-Request-Method: POST\r\n"
                b"Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
            )
            answer = await plane.ask(get("/v1/models", "Origin: https://app"))
    assert preflight.status == 204
    assert preflight["access-control-allow-headers"] == "authorization,content-type"
    assert answer["access-control-allow-origin"] == "*"
    assert mirror.connections == 1


async def test_another_origin_than_the_allowed_one_gets_no_permission() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table()], {"cors_origins": ["https://app"]}) as plane:
            allowed = await plane.ask(get("/v1/models", "Origin: https://app"))
            other = await plane.ask(get("/v1/models", "Origin: https://evil"))
    assert (allowed["access-control-allow-origin"], allowed["vary"]) == ("https://app", "Origin")
    assert "access-control-allow-origin" not in other


@loop_test
async def test_a_client_that_may_not_know_the_mirrors_is_told_no_name_and_no_address() -> None:
    private = {"expose_mirror": False}
    wrong = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = wrong.sockets[0].getsockname()[1]
    other = {"id": "other", "url": f"http://127.0.0.1:{port}", "addresses": ["127.0.0.1"]}
    async with wrong:
        async with DataPlane([_refusing(), other], private) as plane:
            for _ in range(5):
                answer = await plane.ask(post())
                assert (answer.status, answer.error["code"]) == (502, "upstream_error")
                told = f"{answer.fields} {answer.body!r}"
                assert not any(name in told for name in ("dead", "other", "127.0.0.1"))
