"""Meaning of a response to the probe's request for a mirror."""

import json

import pytest

from monitor.diagnosis.answer import meaning_of, retry_after
from monitor.diagnosis.cdn import detect_cdn
from monitor.probes.results import HttpAnswer

CLOUDFLARE = {"cf-ray": "8f0-HKG", "server": "cloudflare"}
HTML = b"<!DOCTYPE html><html><title>Welcome</title>"


def error(code: str | None, kind: str = "invalid_request_error") -> bytes:
    return json.dumps({"error": {"message": "m", "type": kind, "code": code}}).encode()


ANOTHER = b'{"status": 404, "error": "Not Found", "path": "/v1/models"}'


@pytest.mark.parametrize(
    ("body", "completions", "verdict"),
    [
        (ANOTHER, 404, "not_openai_api"),
        (ANOTHER, 405, "not_openai_api"),
        (b'["no"]', 404, "not_openai_api"),
        (ANOTHER, 401, "ok"),
        (ANOTHER, 400, "ok"),
        (ANOTHER, None, "ok"),
        (error("unknown_url"), 404, "ok"),
        (error("unknown_url"), 405, "ok"),
        (HTML, 404, "http_diff"),
        (HTML, 405, "http_diff"),
        (b"404 page not found", 404, "http_diff"),
        (b"", 404, "http_diff"),
        (HTML, 401, "ok"),
        (HTML, None, "ok"),
    ],
)
def test_what_is_not_the_api_does_not_know_completions_either(body, completions, verdict):
    meaning = meaning_of(HttpAnswer(404, {}, body, completions=completions))
    assert (meaning.verdict, meaning.alive) == (verdict, verdict == "ok")


@pytest.mark.parametrize(
    ("status", "headers", "body", "verdict", "alive"),
    [
        (401, {}, error("invalid_api_key"), "ok", True),
        (401, {}, b'{"message": "no token", "success": false}', "ok", True),
        (200, {}, b'{"object": "list", "data": []}', "ok", True),
        (404, {}, b"not found", "ok", True),
        (404, {}, HTML, "ok", True),
        (405, {}, b"", "ok", True),
        (401, {}, HTML, "http_diff", False),
        (200, {}, HTML, "http_diff", False),
        (200, {}, b"", "http_diff", False),
        (200, {}, b"[1]", "http_diff", False),
        (200, {}, b'{"status": "fine"}', "upstream_unexpected", True),
        (302, {"location": "https://parked.example/"}, b"", "http_diff", False),
        (301, CLOUDFLARE, HTML, "http_diff", False),
        (403, {}, error("unsupported_country_region_territory"), "upstream_region_ban", True),
        (403, {}, b'{"code": "unsupported_country_region_territory"}', "upstream_region_ban", True),
        (403, {}, error("ip_not_authorized"), "upstream_ip_not_allowed", True),
        (401, {}, error("ip_not_authorized"), "upstream_ip_not_allowed", True),
        (401, {}, b'{"error": {"message": "IP not authorized"}}', "upstream_ip_not_allowed", True),
        (403, {}, HTML, "http_diff", False),
        (429, {}, error("rate_limit_exceeded", "requests"), "upstream_rate_limited", True),
        (429, {}, error("insufficient_quota", "insufficient_quota"), "upstream_quota", True),
        (500, {}, error(None, "server_error"), "upstream_overloaded", False),
        (503, {}, error("slow_down"), "upstream_overloaded", False),
        (529, {}, b"", "upstream_overloaded", False),
        (403, {**CLOUDFLARE, "cf-mitigated": "challenge"}, HTML, "cdn_challenge", False),
        (503, {**CLOUDFLARE, "cf-mitigated": "challenge"}, HTML, "cdn_challenge", False),
        (403, CLOUDFLARE, b"error code: 1020", "cdn_access_denied", False),
        (429, CLOUDFLARE, b"error code: 1015", "cdn_rate_limited", True),
        (403, CLOUDFLARE, error("error code: 1020"), "upstream_forbidden", True),
        (522, CLOUDFLARE, b"error code: 522", "cdn_origin_error", False),
        (530, CLOUDFLARE, b"error code: 1016", "cdn_origin_error", False),
        (524, CLOUDFLARE, HTML, "cdn_origin_timeout", False),
        (403, {"cf-error-type": "1010"}, HTML, "cdn_access_denied", False),
        (429, {"cf-error-type": "1015"}, HTML, "cdn_rate_limited", True),
        (502, {"cf-error-type": "522"}, HTML, "cdn_origin_error", False),
        (502, {"cf-error-origin": "origin", **CLOUDFLARE}, HTML, "upstream_overloaded", False),
        (522, {}, HTML, "upstream_overloaded", False),
    ],
)
def test_a_response_has_one_meaning(status, headers, body, verdict, alive):
    meaning = meaning_of(HttpAnswer(status, headers, body))
    assert (meaning.verdict, meaning.alive) == (verdict, alive)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (401, error("invalid_api_key"), "upstream_key_invalid"),
        (401, error("ip_not_authorized"), "upstream_ip_not_allowed"),
        (200, b'{"data": []}', "ok"),
        (429, error("insufficient_quota"), "upstream_quota"),
    ],
)
def test_with_the_mirrors_own_key_a_refusal_is_about_that_key(status, body, verdict):
    meaning = meaning_of(HttpAnswer(status, {}, body), keyed=True)
    assert (meaning.verdict, meaning.alive) == (verdict, True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_read_as_seconds(text, seconds):
    assert retry_after({"retry-after": text}, 40.0) == seconds


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (522, {}, "522: the connection to the origin timed out"),
        (521, {}, "521: the origin refuses the connection"),
        (530, {}, "530: the CDN does not find the origin"),
        (502, {"cf-error-type": "526"}, "526: the origin's certificate is not valid"),
    ],
)
def test_the_number_of_a_cdn_is_put_into_words(status, headers, said):
    seen = meaning_of(HttpAnswer(status, {**CLOUDFLARE, **headers}, HTML)).seen
    assert str(seen) == f"the CDN cannot reach its origin ({said})"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("unsupported_country_region_territory", "the API does not serve the region"),
        ("insufficient_quota", "the account's quota is used up"),
    ],
)
def test_the_code_of_an_error_is_shown_and_nothing_else_of_its_text(code, said):
    body = f'{{"error": {{"code": "{code}", "type": "sk-secret", "message": "sk-secret {code}"}}}}'
    seen = str(meaning_of(HttpAnswer(403, {}, body.encode())).seen)
    assert seen.startswith(f"status 403, error {code}: {said}")
    assert "secret" not in seen


def test_only_ok_needs_no_sentence():
    assert meaning_of(HttpAnswer(401, {}, error(None))).seen is None
    assert "503" in str(meaning_of(HttpAnswer(503)).seen)


def test_a_list_longer_than_what_is_read_of_it_is_still_a_list():
    start = b'{"object": "list", "data": [{"id": "gpt-4'
    assert meaning_of(HttpAnswer(200, {}, start, complete=False)).verdict == "ok"
    assert meaning_of(HttpAnswer(200, {}, start, complete=True)).verdict == "http_diff"


def test_a_body_made_to_exhaust_the_parser_is_only_not_json():
    assert meaning_of(HttpAnswer(200, {}, b"[" * 60_000)).verdict == "http_diff"


@pytest.mark.parametrize(
    ("headers", "cdn"),
    [
        ({"cf-ray": "1"}, "cloudflare"),
        ({"server": "Cloudflare"}, "cloudflare"),
        ({"x-amz-cf-id": "1", "via": "1.1 abc.cloudfront.net (CloudFront)"}, "cloudfront"),
        ({"x-served-by": "cache-hkg17920-HKG"}, "fastly"),
        ({"x-served-by": "app-3"}, ""),
        ({"server": "AkamaiGHost"}, "akamai"),
        ({"eagleid": "1"}, "alibaba"),
        ({"x-nws-log-uuid": "1"}, "tencent"),
        ({"server": "nginx"}, ""),
        ({}, ""),
    ],
)
def test_a_cdn_shows_in_its_headers(headers, cdn):
    assert detect_cdn(headers) == cdn
