"""`make pictures`: what the READMEs show, taken of the demo by a browser of the system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.testkit.demo import STATUS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
SHOTS = (
    ("status-en.png", "/?lang=en", 1180, 900, "light"),
    ("status-zh-dark.png", "/?lang=zh", 1180, 900, "dark"),
    ("node-en.png", "/nodes/jp-slow?lang=en", 1180, 860, "light"),
    ("status-phone-zh.png", "/?lang=zh", 390, 844, "light"),
)
LIMIT = 60.0
"""Seconds until the demo has found its blocked mirror."""


def main() -> int:
    """Start the demo, wait until it has something to show, and take the pictures."""
    FOLDER.mkdir(exist_ok=True)
    demo = subprocess.Popen([sys.executable, "-m", "tests.testkit.demo"])
    try:
        wait_until_blocked(f"http://127.0.0.1:{STATUS}/api/v1/nodes")
        shoot(f"http://127.0.0.1:{STATUS}")
    finally:
        os.kill(demo.pid, signal.SIGTERM)
        demo.wait(30)
    return 0


def wait_until_blocked(url: str) -> None:
    """Wait for the verdict that takes longest."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if b'"sni_block' in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.5)
    print("the demo has not found its blocked mirror; the pictures show it as it is")


def shoot(base: str) -> None:
    """Take the pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for name, path, width, height, scheme in SHOTS:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto(base + path)
            if width < 500:  # the nodes are what a phone is for
                page.evaluate("document.getElementById('nodes').scrollIntoView()")
            page.screenshot(path=FOLDER / name)
            page.close()
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
