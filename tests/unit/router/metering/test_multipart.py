"""Which model an upload names, however it arrives, and whoever writes it strangely."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.metering.multipart import UploadTap

TYPE = b"multipart/form-data; boundary=x"
UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    b"Content-Type: audio/mpeg\r\n\r\n" + b"\x00\r\n" * 5000 + b"\r\n--x\r\n"
    b'Content-Disposition: form-data; name="model"\r\n%b\r\nwhisper-1\r\n--x--\r\n'
)


DEAR = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ndear\r\n'
CHEAP = DEAR.replace(b"dear", b"cheap")
REST = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhi\r\n--x--\r\n'


def tapped(raw: bytes, cut: int = 1 << 20, form: bytes = TYPE) -> tuple[set[str], bool]:
    """The models, and whether there may be others."""
    tap = UploadTap(form)
    for at in range(0, len(raw), cut):
        tap.feed(raw[at : at + cut])
    return tap.models, tap.unclear


@pytest.mark.parametrize("cut", [1, 2, 13, 4096, 1 << 20])
@pytest.mark.parametrize("more", [b"", b"Content-Type: text/plain\r\n"])
def test_an_upload_names_its_model(cut: int, more: bytes) -> None:
    assert tapped(UPLOAD % more, cut) == ({"whisper-1"}, False)


@pytest.mark.parametrize(
    "form",
    [
        b'Multipart/Form-Data; boundary="x"',
        b"multipart/form-data;boundary=x; charset=UTF-8",
        b"multipart/form-data; charset=utf-8; boundary=x",
    ],
)
def test_a_form_may_say_its_boundary_in_several_ways(form: bytes) -> None:
    assert tapped(UPLOAD % b"", form=form) == ({"whisper-1"}, False)


PART = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'


@pytest.mark.parametrize("cut", [1, 13, 1 << 20])
@pytest.mark.parametrize(
    ("parts", "images"),
    [
        ([], 1),
        ([(b"n", b"4")], 4),
        ([(b"n", b"1"), (b"n", b"10")], 10),
        ([(b"n", b"10"), (b"n", b"1")], 10),
        ([(b"n", b"4"), (b"N", b"9")], 0),
        ([(b"n", b"9e0"), (b"n", b"4")], 0),
        ([(b"n", b"-1")], 0),
        ([(b"n", b"")], 0),
        ([(b"name", b"9")], 1),
    ],
)
def test_an_upload_says_how_many_images_it_asks_for(
    parts: list[tuple[bytes, bytes]], images: int, cut: int
) -> None:
    raw, tap = b"".join(PART % part for part in parts) + REST, UploadTap(TYPE)
    for at in range(0, len(raw), cut):
        tap.feed(raw[at : at + cut])
    assert tap.images == images


async def test_a_form_of_an_ordinary_client_is_read() -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"--\r\n" * 999, filename="a b.mp3", content_type="audio/mpeg")
    form.add_field("model", "whisper-1")
    payload = form()
    raw = await payload.as_bytes()
    assert tapped(raw, form=payload.headers["Content-Type"].encode()) == ({"whisper-1"}, False)


def test_of_several_models_all_are_told() -> None:
    assert tapped(CHEAP + DEAR + REST) == ({"cheap", "dear"}, False)
    inside = REST.replace(b"hi", CHEAP.replace(b"--x", b"--y"))
    assert tapped(DEAR + inside) == ({"dear"}, False), "what a field says is none of it"


@pytest.mark.parametrize(
    ("plain", "strange"),
    [
        (b"name=", b"Name ="),
        (b'name="model"', b"name*=utf-8''model"),
        (b'name="model"', b'name="mod\\el"'),
        (b'name="model"', b"name='model'"),
        (b'name="model"', b'name="model "'),
        (b'name="model"', b'name="MODEL"'),
        (b'name="model"', b'name="a"; x="\\"; name="model"'),
        (b'name="model"', b'name="a"\r\nContent-Disposition: form-data; name="model"'),
        (b'name="model"', b'name="model"\r\nX: ' + b"y" * 5000),
        (b" form-data", b"\r\n form-data"),
        (b"--x\r\n", b"--x \r\n"),
        (b"--x\r\n", b"--x\n"),
        (b"\r\n", b"\n"),
        (b"dear", b"dear" * 99),
        (b"dear", b"dear\n--x\n"),
        (b"dear\r\n", b"dear\n"),
    ],
)
def test_where_a_server_may_read_another_model_that_is_told(plain: bytes, strange: bytes) -> None:
    assert plain in DEAR
    for cut in (7, 1 << 20):
        assert tapped(DEAR.replace(plain, strange) + CHEAP + REST, cut)[1]


@pytest.mark.parametrize("form", [b"multipart/mixed; boundary=x", b"multipart/form-data", b""])
def test_forms_that_are_not_plain_are_unclear(form: bytes) -> None:
    assert tapped(DEAR + REST, form=form) == (set(), True)


def test_an_upload_that_ends_too_soon_is_unclear() -> None:
    assert tapped(DEAR)[1]
    assert tapped(DEAR + b"--x\r\nContent")[1]


@given(st.lists(st.sampled_from([b"--x", b"\r\n", DEAR, REST, b"model", b"-", b"x"]), max_size=12))
def test_the_sizes_of_pieces_change_nothing(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    assert tapped(raw, 1) == tapped(raw, 5) == tapped(raw)
