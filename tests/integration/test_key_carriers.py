"""A key issued here reaches no mirror, wherever it stands, and nothing competes with a lent key."""

from __future__ import annotations

import base64

import pytest

from router.admission.credentials import checksum
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import each_loop, run_on
from tests.testkit.raw_http import OK, Response, ScriptedMirror, answering

SECRET = "a1" * 21
ISSUED = f"mg-{SECRET}{checksum(SECRET)}"
OWN = "sk-own-0123456789"
LENT = "sk-of-the-mirror-0123456789"
SETTINGS = {"callers": ["own", "issued", "anonymous"], "cors_origins": []}


async def sent(path: str, *fields: str) -> tuple[Response, bytes]:
    """The answer to a request with these fields, and the head that the mirror got."""
    seen: list[tuple[bytes, bytes]] = []
    lines = "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""))
    async with ScriptedMirror(answering(OK, seen)) as mirror:
        table = mirror.table(api_key=LENT, client_keys=["*"])
        async with DataPlane([table], SETTINGS) as plane:
            ring = plane.context.keys
            ring.season("01" * 32)
            ring.extend([("k1", ring.digest(ISSUED.encode()).hex(), None, 0.0, "", None, None)])
            answer = await plane.ask(lines.encode())
            return answer, seen[0][0] if seen else b""


ESCAPED = ISSUED.replace("-", "%2D").replace("a1a", "%611%61")


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/models?key={ISSUED}",
        f"/v1/models?x=1&api-key={ISSUED}&y=2",
        f"/v1/models?apiKey={ISSUED}",
        f"/v1/models?api_key={ESCAPED}",
        f"/v1/models?%6Bey={ESCAPED}",
        f"/v1/models?anything={ISSUED}",
    ],
)
@pytest.mark.parametrize(
    "fields", [(f"Authorization: Bearer {OWN}",), (f"Authorization: Bearer {ISSUED}",), ()]
)
async def test_an_issued_key_in_the_query_reaches_no_mirror(
    path: str, fields: tuple[str, ...]
) -> None:
    answer, head = await sent(path, *fields)
    assert answer.status == 200
    line = head.split(b"\r\n")[0]
    assert SECRET.encode() not in head
    assert b"%61" not in head
    assert line == (b"GET /v1/models?x=1&y=2 HTTP/1.1" if "x=1" in path else line)
    assert (OWN if OWN in repr(fields) else LENT).encode() in head


@pytest.mark.parametrize(
    "field",
    [
        f"api-key: {ISSUED}",
        f"x-api-key: Bearer {ISSUED}",
        f"mj-api-secret:  {ISSUED}; x",
        f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{ISSUED}",
        f"Sec-WebSocket-Protocol: realtime, other.{ISSUED}",
    ],
)
async def test_an_issued_key_in_another_carrier_beside_an_own_key_is_the_one_that_counts(
    field: str,
) -> None:
    answer, head = await sent("/v1/models", f"Authorization: Bearer {OWN}", field)
    assert answer.status == 200
    assert LENT.encode() in head
    assert ISSUED.encode() not in head
    assert OWN.encode() not in head, "the two are never mixed"


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {ISSUED}",
        ISSUED,
        f"Token {ISSUED}",
        f"Bearer {ISSUED}, x",
        "Basic " + base64.b64encode(f":{ISSUED}".encode()).decode(),
        "Basic " + base64.b64encode(f"user:{ISSUED}".encode()).decode().rstrip("="),
    ],
)
async def test_an_issued_key_is_exchanged_whatever_stands_around_it(value: str) -> None:
    answer, head = await sent("/v1/models", f"Authorization: {value}")
    assert answer.status == 200
    assert f"authorization: Bearer {LENT}\r\n".encode() in head
    assert value.encode() not in head


@pytest.mark.parametrize("key", [OWN, ISSUED, ""])
@pytest.mark.parametrize("field", ["x-goog-api-key", "x-custom", "openai-api-key"])
async def test_a_field_that_is_no_carrier_is_dropped_with_an_issued_key_in_it(
    field: str, key: str
) -> None:
    shown = [f"Authorization: Bearer {key}"] if key else []
    answer, head = await sent("/v1/models", *shown, f"{field}: {ISSUED}", "x-kept: mg-other")
    assert answer.status == 200
    assert ISSUED.encode() not in head
    assert b"x-kept: mg-other" in head


@pytest.mark.parametrize("key", [ISSUED, ""], ids=["issued", "anonymous"])
async def test_nothing_competes_with_a_lent_key(key: str) -> None:
    shown = [f"Authorization: Bearer {key}"] if key else []
    fields = ("OpenAI-Organization: org-x", "OpenAI_Project: proj-x", "OpenAI-Beta: x=v1")
    answer, head = await sent(f"/v1/models?api-key={OWN}&limit=2", *shown, *fields)
    assert answer.status == 200
    assert head.startswith(b"GET /v1/models?limit=2 HTTP/1.1\r\n")
    assert b"org-x" not in head
    assert b"proj-x" not in head
    assert b"OpenAI-Beta: x=v1" in head


async def test_organisation_and_project_fields_pass_with_an_own_key() -> None:
    fields = ("OpenAI-Organization: org-x", "OpenAI-Project: proj-x", f"api-key: {OWN}2")
    path = f"/v1/models?api-key={OWN}3&%6Bey=&&x"
    answer, head = await sent(path, f"Authorization: Bearer {OWN}", *fields)
    assert answer.status == 200
    assert head.startswith(f"GET {path} HTTP/1.1\r\n".encode())
    for field in fields:
        assert field.encode() in head


async def test_a_query_without_keys_is_sent_as_it_came() -> None:
    path = "/v1/models?monkey=1&keys=2&x=%41&mg-=3"
    for key in (OWN, ISSUED):
        _, head = await sent(path, f"Authorization: Bearer {key}")
        assert head.startswith(f"GET {path} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("key", [OWN, ISSUED, ""], ids=["own", "issued", "anonymous"])
@pytest.mark.parametrize("name", [f"x-{ISSUED}", ISSUED, f"{ISSUED}-x"])
async def test_a_field_whose_name_holds_an_issued_key_is_dropped(name: str, key: str) -> None:
    shown = [f"Authorization: Bearer {key}"] if key else []
    answer, head = await sent("/v1/models", *shown, f"{name}: 1", "x-mg-kept: 1")
    assert answer.status == 200
    assert SECRET.encode() not in head
    assert b"x-mg-kept: 1" in head


@pytest.mark.parametrize("key", [OWN, ISSUED, ""], ids=["own", "issued", "anonymous"])
@pytest.mark.parametrize(
    "path",
    [
        f"/v1/responses/{ISSUED}",
        f"/v1/responses/{ESCAPED}",
        f"/v1/models/x-{ISSUED}/y?a=1",
        f"/v1/responses/%6dg-{ISSUED[3:]}?x=2",
    ],
)
async def test_a_path_that_holds_an_issued_key_is_refused(path: str, key: str) -> None:
    shown = [f"Authorization: Bearer {key}"] if key else []
    answer, head = await sent(path, *shown)
    assert (answer.status, answer.error["code"]) == (400, "key_in_path")
    assert SECRET not in answer.error["message"]
    assert head == b"", "no mirror is asked"


PERCENT = "".join(f"%{ord(letter):02x}" for letter in ISSUED)
TWICE = PERCENT.replace("%", "%25")
IN_BASE64 = base64.b64encode(f":{ISSUED}".encode()).decode()
SPELLINGS = {
    "as it is": ISSUED,
    "percent-encoded": PERCENT,
    "in capitals": PERCENT.upper(),
    "in part": ESCAPED,
    "twice": TWICE,
    "thrice": TWICE.replace("%", "%25"),
    "base64 of :key": IN_BASE64,
    "base64 of user:key": base64.b64encode(f"user:{ISSUED}".encode()).decode(),
    "base64 of key:": base64.b64encode(f"{ISSUED}:".encode()).decode(),
    "base64 of key": base64.b64encode(ISSUED.encode()).decode(),
    "base64url": base64.urlsafe_b64encode(f"\xff\xfe?:{ISSUED}".encode("latin-1")).decode(),
    "base64, percent-encoded": IN_BASE64.replace("=", "%3D").replace("b", "%62"),
}
SPELLED = pytest.mark.parametrize("key", SPELLINGS.values(), ids=SPELLINGS)
SHOWN = pytest.mark.parametrize("own", [OWN, ""], ids=["beside an own key", "alone"])


def leaks(head: bytes) -> bool:
    """True if any spelling of the issued key is in there."""
    return any(spelling.encode() in head for spelling in SPELLINGS.values())


@each_loop
@SPELLED
@pytest.mark.parametrize(
    "field",
    [
        "Authorization: Bearer {}",
        "Authorization: Basic {}",
        "Authorization: basic {}",
        "Authorization: {}",
        "api-key: {}",
        "api-key: Basic {}",
        "x-api-key: {}",
        "x-api-key: Bearer {}",
        "mj-api-secret: {}",
    ],
)
def test_an_issued_key_in_a_carrier_is_known_however_it_is_spelled(
    field: str, key: str, loop_name: str
) -> None:
    answer, head = run_on(loop_name, sent("/v1/models", field.format(key)))
    assert answer.status == 200
    assert LENT.encode() in head
    assert not leaks(head)


@SPELLED
@SHOWN
@pytest.mark.parametrize(
    "field",
    [
        "Cookie: session=1; key={}",
        "Referer: http://localhost/?api_key={}",
        "Proxy-Authorization: Basic {}",
        "X-Authorization: Basic {}",
        "x_api_key: {}",
        "openai-api-key: {}",
        "x-goog-api-key: {}",
        "User-Agent: tool/1 ({})",
        "Content-Type: text/plain; x={}",
    ],
)
async def test_an_issued_key_in_a_field_that_is_no_carrier_is_dropped_however_it_is_spelled(
    field: str, own: str, key: str
) -> None:
    shown = [f"Authorization: Bearer {own}"] if own else []
    answer, head = await sent("/v1/models", *shown, field.format(key), "x-mg-kept: 1")
    assert answer.status == 200
    assert not leaks(head)
    assert (own or LENT).encode() in head
    assert b"x-mg-kept: 1" in head


@SPELLED
@SHOWN
@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "apikey", "token", "%6bey", ""])
async def test_an_issued_key_in_the_query_is_left_out_however_it_is_spelled(
    name: str, own: str, key: str
) -> None:
    shown = [f"Authorization: Bearer {own}"] if own else []
    part = f"{name}={key}" if name else key
    answer, head = await sent(f"/v1/models?x=1&{part}&y=2", *shown)
    assert answer.status == 200
    assert head.startswith(b"GET /v1/models?x=1&y=2 HTTP/1.1\r\n")
    assert (own or LENT).encode() in head


@SPELLED
@SHOWN
@pytest.mark.parametrize("path", ["/v1/responses/{}", "/v1/models/x-{}/y"])
async def test_an_issued_key_in_the_path_is_refused_however_it_is_spelled(
    path: str, own: str, key: str
) -> None:
    shown = [f"Authorization: Bearer {own}"] if own else []
    answer, head = await sent(path.format(key), *shown)
    assert (answer.status, answer.error["code"]) == (400, "key_in_path")
    assert head == b"", "no mirror is asked"
