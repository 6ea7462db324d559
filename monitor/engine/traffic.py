"""Reports of workers on their traffic: as good as probes, only sooner.

A mirror that serves requests is not down, whatever it answers to the one question that probes ask.

They tell of a name that is cut off at once, of other failures within a quarter of a second and of
successes once a second (`router/process/reports.py`), so that a success may be older than the
failure that was heard before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from monitor.diagnosis.verdicts import AFTER_HANDSHAKE
from monitor.engine.background_checks import BackgroundChecks
from monitor.engine.mirror_state import MirrorState
from monitor.engine.path_reactions import Reactions
from monitor.health.paths import SLOW_HANDSHAKE, Path, is_cut
from monitor.health.snapshot import Standing
from monitor.probes.results import Operation, StepResult, TlsEvidence, Way

MOST_LAG = 60.0
"""Seconds beyond which a message was sent by another clock."""
_CONNECT = {
    "connection_refused": "connection_refused",
    "connection_reset": "connection_reset",
    "generic_timeout_error": "ip_unreachable",
    "timed_out": "ip_unreachable",
    "host_unreachable": "ip_unreachable",
    "network_unreachable": "ip_unreachable",
    "slow": "ip_unreachable",
}
_CUT = {
    "connection_reset": "tls_reset",
    "connection_aborted": "tls_reset",
    "eof_error": "tls_eof",
    "generic_timeout_error": "tls_timeout",
}
_TLS = {**_CUT, "slow": SLOW_HANDSHAKE}


class TrafficNews:
    """Takes the workers' messages."""

    def __init__(
        self,
        watches: Mapping[str, MirrorState],
        reactions: Reactions,
        background_checks: BackgroundChecks,
        suspect: Callable[[str], None],
        touched: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`suspect` has a mirror probed at once, `touched` has it shown anew."""
        self._watches = watches
        self._reactions = reactions
        self._background_checks = background_checks
        self._suspect = suspect
        self._touched = touched
        self._monotonic = monotonic

    def hear(self, news: Mapping[str, Any]) -> None:
        """One message; mirrors that are gone meanwhile are passed over."""
        for mirror_id in news.get("mirrors", ()):
            if (watch := self._watches.get(mirror_id)) is not None:
                watch.traffic.failed(self._monotonic())
            self._suspect(mirror_id)
        for mirror_id, ago in news.get("served", ()):
            if (watch := self._watches.get(mirror_id)) is not None:
                self._served(watch, ago)
        for mirror_id in news.get("keys", ()):
            self._background_checks.doubt_key(mirror_id)
            if mirror_id in self._watches and self._background_checks.calls_for_key(mirror_id):
                self._suspect(mirror_id)
        for mirror_id, hostname, address, operation, failure in news.get("paths", ()):
            if (watch := self._watches.get(mirror_id)) is not None:
                self._failed(watch, Way(hostname, address), operation, failure)
                self._suspect(mirror_id)
        underway = self._underway(news)
        for mirror_id, hostname, address, seconds, ago in news.get("opened", ()):
            if (watch := self._watches.get(mirror_id)) is not None:
                self._worked(watch, Way(hostname, address), seconds, ago + underway)
        for mirror_id, received, stopped in news.get("transfers", ()):
            self._background_checks.traffic(mirror_id, received, stopped)

    def _underway(self, news: Mapping[str, Any]) -> float:
        """Seconds since the message was sent: all processes of a machine have one such clock."""
        lag = self._monotonic() - news.get("sent", self._monotonic())
        return lag if 0.0 <= lag < MOST_LAG else 0.0

    def _served(self, watch: MirrorState, ago: float) -> None:
        """A mirror has served a request, so many seconds ago."""
        watch.traffic.served(self._monotonic() - ago)
        if watch.is_down and watch.is_reached:
            self._suspect(watch.mirror.id)

    def _failed(self, watch: MirrorState, way: Way, operation: str, failure: str) -> None:
        """A worker could not open a connection over a path, or waited for too long."""
        path = watch.paths.path(way)
        if path is None:  # control is new, and has not asked for addresses yet
            again = partial(self._path_failed, watch, operation, failure)
            watch.paths.once_known(way, again)
            return
        self._path_failed(watch, operation, failure, path)

    def _path_failed(self, watch: MirrorState, operation: str, failure: str, path: Path) -> None:
        now, way = self._monotonic(), path.way
        path.due()
        self._touched(watch.mirror.id)
        if operation != Operation.tls_handshake.value:
            path.doubted(now, _CONNECT.get(failure, "connect_failed"))
            return
        path.handshake_failed(now, _TLS.get(failure, "tls_failed"))
        if failure in _CUT:
            step = StepResult(Operation.tls_handshake, failure, 0.0, way.address, tls=TlsEvidence())
            self._reactions.cut_off(watch, path, step, now)
        elif failure == "slow":  # a handshake that is dropped looks like this when it is overtaken
            self._reactions.spare_name(watch, path, now)

    def _worked(self, watch: MirrorState, way: Way, seconds: float, ago: float) -> None:
        """A worker has opened a connection over a path, so many seconds ago."""
        path, now = watch.paths.path(way), self._monotonic()
        self._reactions.heard()
        if path is None:
            return
        self._reactions.answered(watch, path, now - ago - seconds)
        if (path.is_held(now) and not is_cut(path)) or now - ago <= path.last_bad:
            return
        if path.standing is not Standing.ok and path.verdict in AFTER_HANDSHAKE:
            return  # it is not connections that fail there
        if path.succeeded(now, seconds * 1000):
            self._touched(watch.mirror.id)
            if watch.is_down:
                self._suspect(watch.mirror.id)
