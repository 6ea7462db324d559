"""A key is found in whatever form and pieces it comes, nothing of it passes, and all else does."""

from __future__ import annotations

import base64
import gzip
import json
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from router.upstream.key_leaks import BodyScan, KeyForms, KeyScan

KEYS = [
    "sk-proj-Ab3_x9/Qq+Zz==",
    "aaaaaaab",
    "ssssssss",
    "sk-" + "Xy9" * 50,
    "k%41ey\\u0041-with-escapes",
]
FORMS = [
    "plain",
    "unicode",
    "unicode upper",
    "solidus",
    "nested",
    "percent",
    "percent small",
    "decimal",
    "hexadecimal",
    "hexadecimal upper",
    "mixed",
    "utf-16-le",
    "utf-16-be",
]
FORMS += [f"base64 {alphabet} {before}" for alphabet in ("std", "url") for before in range(3)]
# Letters that keys are made of, so that much looks like their beginning.
NOISE = st.text("sk-aX%\\u0 /4&#;\n", max_size=60).map(str.encode)


def written(key: str, form: str) -> bytes:
    """The key in one of the forms that it is searched for in."""
    kind, *more = form.split()
    if kind == "base64":
        encode = base64.b64encode if more[0] == "std" else base64.urlsafe_b64encode
        return encode(b"u:x"[: int(more[1])] + key.encode())
    if kind.startswith("utf-16"):
        return key.encode(kind)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    found = {
        "plain": key,
        "unicode": escaped.upper().replace("\\U", "\\u") if more else escaped,
        "solidus": key.replace("/", "\\/"),
        "nested": json.dumps(json.dumps(escaped))[3:-3],
        "percent": "".join(f"%{ord(letter):02x}" for letter in key)
        if more
        else quote(key, safe=""),
        "decimal": "".join(f"&#{ord(letter)};" if letter in "-/+=_s" else letter for letter in key),
        "hexadecimal": "".join(
            f"&#X{ord(letter):04X};" if more else f"&#x{ord(letter):x};" for letter in key
        ),
        "mixed": escaped[:18] + "".join(f"%{ord(letter):02X}" for letter in key[3:6]) + key[6:],
    }
    return found[kind].encode()


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data, cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def scanned(key: str, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return the bytes that pass of these pieces, and whether the key was found."""
    scan = KeyScan(KeyForms(key.encode()))
    passed = b"".join(map(scan.feed, pieces))
    return passed + scan.finish(), scan.found


@given(st.sampled_from(KEYS), st.sampled_from(FORMS), NOISE, NOISE, st.lists(st.integers(0, 10**6)))
@example("ssssssss", "plain", b"sss", b"", list(range(64)))
@example("sk-proj-Ab3_x9/Qq+Zz==", "mixed", b"", b"", list(range(999)))
def test_a_key_is_found_and_nothing_of_it_passes(
    key: str, form: str, before: bytes, after: bytes, cuts: list[int]
) -> None:
    assume(
        "%" not in key or form not in ("mixed", "decimal")
    )  # a key that looks escaped, escaped here and there
    before += b"\n" if form.startswith("base64") else b""
    passed, found = scanned(key, pieces_of(before + written(key, form) + after, cuts))
    assert found
    shared = 3 if form.startswith("base64") else 0  # characters that hold a bit of what is before
    assert passed.startswith(before[: len(passed)])
    assert len(passed) <= len(before) + shared


@given(st.sampled_from(KEYS), NOISE, st.lists(st.integers(0, 10**6)))
def test_bodies_without_a_key_pass_unchanged(key: str, data: bytes, cuts: list[int]) -> None:
    data = data.replace(key[:3].encode(), b"")
    passed, found = scanned(key, pieces_of(data, cuts))
    if not found:
        assert passed == data
    else:
        assert KeyForms(key.encode()).nearly_ends(data) or KeyForms(key.encode()).are_in(data)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", KEYS[:-1])
def test_a_body_that_ends_with_most_of_a_key_does_not_tell_it(key: str, form: str) -> None:
    text = written(key, form)
    passed, found = scanned(key, [b"key: " + text[:-3]])
    assert found
    assert len(passed) <= 5 + 3 * form.startswith("base64")


def test_a_piece_that_ends_as_no_key_goes_on_passes_at_once() -> None:
    scan = KeyScan(KeyForms(b"sk-proj-0123456789"))
    for piece in (b'data: {"x": "sk-pr"}\n\n', b"\xff", b"sk-proj-!", b"{}\n"):
        assert scan.feed(piece) == piece
    assert scan.feed(b"a sk-pr") == b"a "
    assert scan.feed(b"oj") == b""
    assert scan.feed(b"ect.") == b"sk-project."


@pytest.mark.parametrize("size", [1, 7, 1 << 15])
def test_a_compressed_body_passes_as_it_came_or_not_at_all(size: int) -> None:
    key = "sk-proj-0123456789"
    for text, refused in ((f"a {key} b", True), ("a sk-proj-01 b sk-p", False)):
        packed = gzip.compress(text.encode() * 50)
        scan = BodyScan(KeyForms(key.encode()), b"gzip")
        parts = [packed[at : at + size] for at in range(0, len(packed), size)]
        passed = b"".join(b"".join(scan.feed([part], ended=part is parts[-1])) for part in parts)
        assert scan.refused is refused
        assert (passed == packed) is not refused


def test_bodies_that_cannot_be_searched_are_refused() -> None:
    for encoding, packed in (
        (b"br", b"x"),
        (b"gzip, gzip", b"x"),
        (b"gzip", b"that is not gzip"),
        (b"gzip", gzip.compress(bytes(4 << 20))),
        (b"gzip", gzip.compress(b"%61" * 100_000)),
    ):
        scan = BodyScan(KeyForms(b"sk-proj-0123456789"), encoding)
        assert scan.feed([packed], ended=True) == []
        assert scan.refused
    scan = BodyScan(KeyForms(b"sk-proj-0123456789"), b"br")
    assert scan.feed([], ended=True) == []
    assert not scan.refused


@pytest.mark.parametrize("size", [1, 7, 1 << 15])
@pytest.mark.parametrize(
    "after", [b" sk-proj-0123456789", b"zzzz", gzip.compress(b"x")[:-9] + b"z" * 9]
)
def test_only_another_gzip_member_may_follow_a_compressed_body(size: int, after: bytes) -> None:
    for more, refused in ((after, True), (gzip.compress(b"more"), False)):
        packed = gzip.compress(b"some") + more
        scan = BodyScan(KeyForms(b"sk-proj-0123456789"), b"gzip")
        parts = [packed[at : at + size] for at in range(0, len(packed), size)]
        passed = b"".join(b"".join(scan.feed([part], ended=part is parts[-1])) for part in parts)
        assert scan.refused is refused
        assert (passed == packed) is not refused
        assert b"sk-proj" not in passed


def test_a_short_word_is_no_key() -> None:
    assert KeyForms.of(b"") is None
    assert KeyForms.of(b"1234567") is None
    assert KeyForms.of(b"12345678") is not None
