"""Notes on settings that keep a new key from being of use."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.common.keys import KeyOrder
from router.admission.credentials import Caller
from router.control.sections import Config


def key_notes(config: Config, order: KeyOrder) -> tuple[str, ...]:
    """A sentence on each, with what to set."""
    return tuple(_notes(config, order))


def _notes(config: Config, order: KeyOrder) -> Iterator[str]:
    if Caller.issued not in config.router.callers:
        yield 'keys issued here are not let in: add "issued" to router.callers'
    if not any(mirror.api_key for mirror in config.mirrors if mirror.enabled):
        yield "no mirror lends its key to callers with a key issued here: set mirrors.api_key"
    if order.quota is not None and not config.prices:
        yield "a key with a quota of money may only ask for models with a price: write [prices]"
