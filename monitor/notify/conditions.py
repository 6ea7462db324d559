"""Conditions that hold, and the notices of their changes. Pure: the clock is handed in.

What was told is kept by the store, so that a restarted process, or another instance that takes
over, neither repeats it nor forgets to tell its end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyAccount
from monitor.common.languages import Text
from monitor.diagnosis.verdicts import VERDICTS
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, Override, PathHealth, State
from monitor.notify import texts
from monitor.notify.config import Kind
from monitor.notify.notice import Notice

DAY = 86400.0
CERTIFICATE_DAYS = (14, 7, 3, 1, 0)
"""Days before its end at which a certificate is spoken of."""
QUOTA_SHARES = (80, 100)
"""Per cent of a key's quota at which it is spoken of."""
SPIKE_BANS = 20
SPIKE_WITHIN = 300.0
"""So many automatic bans within so many seconds are a spike; the next one is told after as long."""
FROM_ELSEWHERE_AFTER = 30.0
"""Seconds for which a mirror must be down for another instance and up here before that is told:
less is one instance that notices first."""

Topic = tuple[str, str]
"""Kind and subject."""


class Conditions:
    """Levels of all conditions as they were told last; "" is not kept."""

    def __init__(self, told: Mapping[Topic, str] | None = None) -> None:
        self.told: dict[Topic, str] = dict(told or {})
        self._down_since: dict[str, float] = {}
        self._elsewhere_since: dict[Topic, float] = {}
        self._bans: deque[float] = deque(maxlen=SPIKE_BANS)
        self._spike_at = float("-inf")

    def see(
        self, snapshot: HealthSnapshot, mirrors: Iterable[MirrorConfig], now: float
    ) -> list[Notice]:
        """The notices of a new snapshot. Mirrors that are not known or not wanted tell nothing."""
        configured = {mirror.id: mirror.name or mirror.id for mirror in mirrors}
        serving = sum(m.in_rotation and m.id in configured for m in snapshot.mirrors.values())
        found: list[Notice] = []
        for health in snapshot.mirrors.values():
            if health.id in configured and _tells(health):
                found += self._of_mirror(health, configured[health.id], serving, now)
        if any(_tells(health) for health in snapshot.mirrors.values()):
            found += self._of_all(snapshot.none_in_rotation, now)
        self._forget_removed(configured)
        return found

    def reloaded(self, problem: str, now: float) -> list[Notice]:
        """The configuration was read; `problem`: why it is not in use, or ""."""
        topic = (Kind.reload_failed.value, "")
        if problem:
            # each fault is news, also if the one before was not mended
            return self._begin(topic, problem[:200], now, texts.reload_failed(problem[:500]))
        return self._end(topic, now, texts.RELOADED)

    def banned(self, bans: Iterable[Ban], now: float) -> list[Notice]:
        """Clients were banned automatically."""
        reasons = Counter(ban.reason for ban in bans)
        self._bans.extend([now] * min(reasons.total(), SPIKE_BANS))
        spike = len(self._bans) == SPIKE_BANS and now - self._bans[0] <= SPIKE_WITHIN
        if not spike or not reasons or now - self._spike_at < SPIKE_WITHIN:
            return []
        self._spike_at = now
        count = max(reasons.total(), SPIKE_BANS)
        said = texts.ban_spike(count, int(SPIKE_WITHIN / 60), reasons.most_common(1)[0][0])
        return [Notice(Kind.ban_spike, "", now, said, level=str(count))]

    def charged(self, accounts: Iterable[KeyAccount], now: float) -> list[Notice]:
        """Issued keys were used, or topped up."""
        found: list[Notice] = []
        for account in accounts:
            record = account.record
            name, topic = record.name or record.id, (Kind.key_quota.value, record.id)
            reached = [share for share in QUOTA_SHARES if _used_per_cent(account) >= share]
            if not reached:
                found += self._end(topic, now, texts.topped_up(name, record.id))
            elif int(self.told.get(topic) or 0) < reached[-1]:
                said = texts.key_quota(name, record.id, reached[-1])
                found += self._begin(topic, str(reached[-1]), now, said)
            else:
                self.told[topic] = str(reached[-1])
        return found

    def _of_mirror(
        self, health: MirrorHealth, name: str, serving: int, now: float
    ) -> Iterator[Notice]:
        topic = (Kind.down.value, health.id)
        if health.state is State.down:
            self._down_since.setdefault(health.id, health.since)
            yield from self._begin(topic, "down", now, texts.down(name, health.verdict, serving))
        else:
            since = self._down_since.pop(health.id, None)
            lasted = None if since is None else max(0.0, health.since - since)
            yield from self._end(topic, now, texts.up(name, lasted), Kind.up)
        yield from self._from_elsewhere(health, name, now)
        yield from self._of_blocks(health, name, now)
        yield from self._of_certificate(health, name, now)

    def _from_elsewhere(self, health: MirrorHealth, name: str, now: float) -> Iterator[Notice]:
        """Notices of the views of other instances, which leave telling to the leader."""
        for seen in health.vantages:
            topic = (Kind.down.value, f"{health.id}@{seen.name}")
            if not seen.lasts:
                continue
            if seen.state is State.down and health.state is not State.down:
                if now - self._elsewhere_since.setdefault(topic, now) >= FROM_ELSEWHERE_AFTER:
                    said = texts.down_from(name, seen.name, seen.verdict)
                    yield from self._begin(topic, "down", now, said)
                continue
            self._elsewhere_since.pop(topic, None)
            if seen.state in (State.up, State.degraded):
                yield from self._end(topic, now, texts.up_from(name, seen.name), Kind.up)

    def _of_blocks(self, health: MirrorHealth, name: str, now: float) -> Iterator[Notice]:
        topic = (Kind.sni_block.value, health.id)
        blocked = [path for path in health.paths if _is_blocked(path)]
        if not blocked:
            yield from self._end(topic, now, texts.unblocked(name))
            return
        worst = max(blocked, key=lambda path: path.level == "confirmed")
        if self.told.get(topic) != "confirmed":  # and what was confirmed does not fall back
            elsewhere = any(path.usable and path not in blocked for path in health.paths)
            sure = worst.level == "confirmed"
            said = texts.blocked(name, worst.hostname, worst.verdict, sure, elsewhere)
            yield from self._begin(topic, "confirmed" if sure else "suspected", now, said)

    def _of_certificate(self, health: MirrorHealth, name: str, now: float) -> Iterator[Notice]:
        ends = [(path.not_after, path.hostname) for path in health.paths if path.not_after]
        if not ends:
            return
        not_after, hostname = min(ends)
        assert not_after is not None
        topic = (Kind.certificate.value, health.id)
        left = not_after - now
        reached = [days for days in CERTIFICATE_DAYS if left <= days * DAY]
        if not reached:
            yield from self._end(topic, now, texts.renewed(name))
        elif topic not in self.told or reached[-1] < int(self.told[topic]):
            said = texts.certificate(name, hostname, left)
            yield from self._begin(topic, str(reached[-1]), now, said)

    def _of_all(self, none: bool, now: float) -> list[Notice]:
        topic = (Kind.nothing_serves.value, "")
        if none:
            return self._begin(topic, "all", now, texts.NOTHING_SERVES)
        return self._end(topic, now, texts.SERVES_AGAIN)

    def _forget_removed(self, configured: Mapping[str, str]) -> None:
        of_mirrors = (Kind.down.value, Kind.sni_block.value, Kind.certificate.value)
        for kind, subject in list(self.told):
            if kind in of_mirrors and subject.partition("@")[0] not in configured:
                del self.told[kind, subject]
        for topic in list(self._elsewhere_since):
            if topic[1].partition("@")[0] not in configured:
                del self._elsewhere_since[topic]
        for mirror_id in self._down_since.keys() - configured.keys():
            del self._down_since[mirror_id]

    def _begin(self, topic: Topic, level: str, now: float, said: Text) -> list[Notice]:
        if self.told.get(topic) == level:
            return []
        self.told[topic] = level
        return [Notice(Kind(topic[0]), topic[1], now, said, level=level)]

    def _end(self, topic: Topic, now: float, said: Text, kind: Kind | None = None) -> list[Notice]:
        if self.told.pop(topic, None) is None:
            return []
        return [Notice(kind or Kind(topic[0]), topic[1], now, said, ended=True)]


def _tells(health: MirrorHealth) -> bool:
    known = health.state not in (State.unknown, State.maintenance)
    return known and health.wish is Override.use


def _is_blocked(path: PathHealth) -> bool:
    verdict = VERDICTS.get(path.verdict)
    blocks = verdict is not None and verdict.interferes and "block" in path.verdict
    return blocks and not path.verdict.startswith("dns") and path.level != "cleared"


def _used_per_cent(account: KeyAccount) -> float:
    """Of the quota that is used up most; 0 without one."""
    record, spent = account.record, account.spent
    used = [
        100.0 * of / quota if quota else 100.0
        for quota, of in ((record.quota, spent.cost), (record.quota_tokens, spent.tokens))
        if quota is not None
    ]
    return max(used, default=0.0)
