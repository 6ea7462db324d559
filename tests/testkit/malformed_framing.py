"""Where a request's body ends: Content-Length, Transfer-Encoding, chunks and trailers."""

from __future__ import annotations

from tests.testkit.malformed_case import (
    HIDDEN,
    HOST,
    JSON,
    KEY,
    Case,
    chunked,
    coded,
    get,
    line,
    post,
    sized,
)

_LAST = b"0\r\n\r\n"
_DATA = b"2\r\n{}\r\n"
_ONE = _DATA + _LAST
_TE, _CL = b"Transfer-Encoding: chunked\r\n", b"Content-Length: 2\r\n"


def _old(fields: bytes, body: bytes) -> bytes:
    return line(b"POST /v1/chat/completions HTTP/1.0", HOST + KEY + JSON + fields, body)


BOTH = [
    Case("both framings, length first", post(_CL + _TE, _ONE)),
    Case("both framings, coding first", post(_TE + _CL, _ONE)),
    Case(
        "both framings, length zero hides a request", post(b"Content-Length: 0\r\n" + _TE, HIDDEN)
    ),
    Case("both framings, the last chunk hides a request", post(_CL + _TE, _LAST + HIDDEN)),
    Case("both framings on a GET", get(_CL + _TE) + _ONE),
    Case("both framings in HTTP/1.0", _old(_CL + _TE, _ONE)),
]

LENGTHS = [
    *(
        Case(f"Content-Length {text!r}", sized(text, b"{}" + HIDDEN))
        for text in (
            b"", b"+2", b"-2", b"-0", b" 2 2", b"2,2", b"2, 2", b"2, 3", b"2;", b"0x2", b"2.0",
            b"2e0",
            b"two", b"2\x0b", b"\x0c2", b"2_0", b"\xb2", b"2\x00", b'"2"', b"2 ,", b",2",
            b"9223372036854775807", b"9223372036854775808", b"18446744073709551618",
            b"1" + b"0" * 40, b"2\r\n 0", b"2\r2", b"0b10", b"\xef\xbc\x92",
        )
    ),
    Case("two equal lengths", post(_CL + _CL, b"{}")),
    Case("two lengths", post(_CL + b"Content-Length: 3\r\n", b"{}}")),
    Case("two lengths, the other spelled differently", post(_CL + b"content-length: 3\r\n",
         b"{}}")),
    Case("a length above the limit", sized(b"999999999999")),
    Case("a length beside an underscore", post(_CL + b"Content_Length: 40\r\n", b"{}"), "accept",
         lacks=(b"content_length",)),
    Case("a length with leading zeros", sized(b"0002"), "either"),
    Case("a length with spaces around", sized(b"  2 \t"), "accept"),
    Case("no length", post(b""), "accept", has=(b"Content-Length: 0\r\n",)),
    Case("a body on GET", get(_CL) + b"{}", "accept", has=(b"Content-Length: 2\r\n",)),
    Case("a length of zero hides a pipelined request", sized(b"0", b"") + HIDDEN, "accept",
         arriving=2),
    Case("fewer bytes than announced", sized(b"40"), ends=True),
    Case("more bytes than announced", sized(b"2", b"{}}"), "either"),
]  # fmt: skip

CODINGS = [
    *(
        Case(f"Transfer-Encoding {text!r}", coded(text))
        for text in (
            b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked",
            b",chunked", b"chunked,", b"chunked;q=1", b"chunked; a=b", b"xchunked", b"chunkedx",
            b"chunk", b"\x0bchunked", b"chunked\x0b", b"chunked\x00", b'"chunked"', b"cow",
            b"chunked identity", b"identity, chunked", b"c hunked", b"\xffchunked",
            b"x\r\n chunked",
            b"deflate", b"trailers", b"chunked\rx",
        )
    ),
    Case("Transfer-Encoding twice", post(_TE + _TE, _ONE)),
    Case("Transfer-Encoding twice, one unknown", post(_TE + b"Transfer-Encoding: cow\r\n", _ONE)),
    Case("Transfer-Encoding twice, identity first",
         post(b"Transfer-Encoding: identity\r\n" + _TE, _ONE)),
    Case("Transfer-Encoding with a space before the colon",
         post(b"Transfer-Encoding : chunked\r\n", _ONE)),
    Case("Transfer-Encoding after a folded line", post(b"X: y\r\n Transfer-Encoding: chunked\r\n",
         _ONE)),
    Case("Transfer-Encoding in HTTP/1.0", _old(_TE, _ONE)),
    Case("Transfer_Encoding is no framing", post(_CL + b"Transfer_Encoding: chunked\r\n", b"{}"),
         "accept", lacks=(b"transfer_encoding",)),
    Case("Transfer-Encoding in capitals", coded(b"CHUNKED"), "accept"),
    Case("Transfer-Encoding with spaces around", coded(b" \t chunked "), "accept"),
    Case("chunked on a GET", get(_TE) + _ONE, "accept"),
]  # fmt: skip

CHUNKS = [
    *(
        Case(f"chunks {text!r}", chunked(text))
        for text in (
            b"\r\n{}\r\n" + _LAST, b"-2\r\n{}\r\n" + _LAST, b"+2\r\n{}\r\n" + _LAST,
            b"0x2\r\n{}\r\n" + _LAST, b"g\r\n{}\r\n" + _LAST, b"2 2\r\n{}\r\n" + _LAST,
            b" 2\r\n{}\r\n" + _LAST, b"2\n{}\r\n" + _LAST, b"2\r\n{}\n" + _LAST,
            b"2\r{}\r\n" + _LAST,
            b"2\r\n{}" + _LAST, b"2\r\n{}}\r\n" + _LAST, b"1\r\n{}\r\n" + _LAST,
            b"ffffffffffffffff\r\n{}\r\n" + _LAST, b"10000000000000002\r\n{}\r\n" + _LAST,
            b"2;\n{}\r\n" + _LAST, b"2;a\nb\r\n{}\r\n" + _LAST, b"2;a\rb\r\n{}\r\n" + _LAST,
            b"2;a\x00b\r\n{}\r\n" + _LAST, b"2\x00\r\n{}\r\n" + _LAST, b"2,2\r\n{}\r\n" + _LAST,
            b"\xb2\r\n{}\r\n" + _LAST, _DATA + b"0\n\n", _DATA + b"0\r\nX: y\n\r\n",
            _DATA + b"0\r\n X: y\r\n\r\n", _DATA + b"0\r\nX : y\r\n\r\n",
            _DATA + b"0\r\nno colon\r\n\r\n",
            _DATA + b"0\r\nX: \x00\r\n\r\n", _DATA + b"0\r\nContent-Length: 2\r\n\r\n",
        )
    ),
    Case("a megabyte of chunk extension",
         chunked(b"2;" + b"a" * (1 << 20) + b"\r\n{}\r\n" + _LAST)),
    Case("chunks that are mostly framing",
         chunked((b"1;" + b"a" * 1000 + b"\r\n{\r\n") * 200 + _LAST)),
    Case("a megabyte of trailers", chunked(_DATA + b"0\r\n" + b"A: b\r\n" * 200_000 + b"\r\n")),
    Case("a chunk size with a megabyte of zeros",
         chunked(b"0" * (1 << 20) + b"2\r\n{}\r\n" + _LAST)),
    Case("no last chunk", chunked(_DATA), ends=True),
    Case("half of a last chunk", chunked(_DATA + b"0\r\n"), ends=True),
    Case("a chunk size with a few zeros", chunked(b"00002\r\n{}\r\n" + _LAST), "either"),
    Case("a chunk extension", chunked(b"2;name=value\r\n{}\r\n" + _LAST), "accept",
         lacks=(b"name",)),
    Case("a quoted chunk extension", chunked(b'2;a="b;c"\r\n{}\r\n' + _LAST), "either",
         lacks=(b"b;c",)),
    Case("a trailer", chunked(_DATA + b"0\r\nX-Trailer: y\r\n\r\n"), "accept",
         lacks=(b"x-trailer",)),
    Case("a trailer with a key", chunked(_DATA + b"0\r\nAuthorization: Bearer sk-y\r\n\r\n"),
         "accept",
         lacks=(b"sk-y",)),
    Case("a trailer with a host", chunked(_DATA + b"0\r\nHost: evil\r\n\r\n"), "either",
         lacks=(b"evil",)),
    Case("a trailer with a coding", chunked(_DATA + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
         "either"),
    Case("a chunk hides a request", chunked(b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + _LAST),
         "accept"),
    Case("capital hexadecimal", chunked(b"A\r\n{        }\r\n" + _LAST), "accept"),
    Case("a request behind the last chunk", chunked(_ONE) + HIDDEN, "accept", arriving=2),
]  # fmt: skip
