"""Links to images in JSON bodies."""

import json
from typing import Any

from monitor.common.config import MirrorConfig
from router.upstream.image_links import PATH, ImageLinks

ROOT = "https://here.example"
MIRROR = MirrorConfig(id="hk", url="https://hk.example.com", relay_images=True)


def relinked(body: Any) -> Any:
    text = json.dumps(body).encode()
    return json.loads(ImageLinks(MIRROR, b"secret", 1e9).relinked(text, ROOT))


def test_a_url_on_the_mirror_becomes_a_link() -> None:
    (link,) = relinked(["https://hk.example.com/a.png"])
    assert link.startswith(ROOT + PATH.decode())


def test_a_url_that_is_quoted_within_a_text_is_left_alone() -> None:
    text = 'see "https://hk.example.com/a.png'
    assert relinked({"prompt": text, text: [text]}) == {"prompt": text, text: [text]}


def test_a_url_behind_a_text_that_ends_in_a_backslash_becomes_a_link() -> None:
    _, link = relinked(["\\", "https://hk.example.com/a.png"])
    assert link.startswith(ROOT + PATH.decode())
