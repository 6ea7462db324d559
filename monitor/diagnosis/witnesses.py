"""Faults of our own surroundings: a wrong clock, a captive portal.

Both show as certificates that do not verify, on every mirror alike. They are told from a mirror's
own fault by others: what time their `Date` gives, and which certificate they are seen to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from monitor.diagnosis.answer import Meaning
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.probes.results import StepResult, TlsEvidence, Witness
from monitor.probes.verify_codes import EXPIRED, NOT_YET_VALID

WRONG_BY = 3600.0
"""Seconds by which a clock must be wrong to explain a certificate (ours); servers are rarely off by
more than a few."""
AGREE = 300.0
"""Seconds within which the clocks of others agree (ours)."""
_HOUR = 3600.0
_SHOWN = 4
"""Interfaces that are named."""


def doubtful(step: StepResult) -> bool:
    """True if others may tell that not the mirror is at fault."""
    seen = step.tls
    return seen is not None and step.failure is not None and (seen.verify_code > 0 or is_page(seen))


def is_page(seen: TlsEvidence) -> bool:
    """True if our hello was answered with a page in plain HTTP."""
    return seen.first_bytes.lstrip().startswith((b"HTTP/", b"<"))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Common faults that others have shown, as far as they explain failures of mirrors."""

    ahead: float | None = None
    """Seconds by which our clock is ahead of those of others; None if it is right, or not known."""
    others: int = 0
    """How many say so."""
    portal: str = ""
    """Fingerprint of the certificate that is shown in place of everybody's; "" if none."""
    pages: bool = False
    """True if TLS is answered with a page, whoever is asked."""
    names: tuple[str, ...] = ()
    """The names that the portal's certificate is for."""

    @classmethod
    def of(cls, heard: Sequence[Witness]) -> Surroundings:
        """Judge what others at different addresses have shown."""
        clocks = [each.ahead for each in heard if each.ahead is not None]
        ahead = median(clocks) if len(clocks) >= 2 else None
        if ahead is not None and any(abs(each - ahead) > AGREE for each in clocks):
            ahead = None
        if ahead is not None and abs(ahead) < WRONG_BY:
            ahead = None
        shown = [each.tls for each in heard if each.tls is not None]
        same = {tls.sha256 for tls in shown}
        everywhere = len(shown) >= 2 and len(same) == 1
        pages = len(shown) >= 2 and all(map(is_page, shown))
        portal = shown[0].sha256 if everywhere else ""
        names = shown[0].subject_names if portal else ()
        return cls(ahead, len(clocks), portal, pages, names)

    def explain(self, step: StepResult, now: float) -> Finding | None:
        """The finding on a failed handshake that is no fault of the mirror; `now`: our clock."""
        seen = step.tls
        if seen is None or not doubtful(step):
            return None
        if self.ahead is not None and self._wrong_time(seen, now):
            return Finding(
                "local_clock_wrong", Level.confirmed, 0.0, 0.0, 0.0, "0", (self._clock(),)
            )
        if self.pages and is_page(seen):
            found = (Code.page_for_all(),)
            return Finding("captive_portal", Level.suspected, 0.0, 0.0, 0.0, "0", found)
        if self.portal and seen.sha256 == self.portal and seen.verify_code:
            names = self.names[:3] or Code.names_unreadable()
            found = (Code.certificate_for_all(certificate=Code.certificate(names=names)),)
            return Finding("captive_portal", Level.suspected, 0.0, 0.0, 0.0, "0", found)
        return None

    def _wrong_time(self, seen: TlsEvidence, now: float) -> bool:
        """True if the certificate would be good at the time that others have."""
        ahead = self.ahead or 0.0
        if seen.verify_code == EXPIRED:
            return ahead > 0 and (seen.not_after is None or seen.not_after > now - ahead)
        return seen.verify_code == NOT_YET_VALID and ahead < 0

    def _clock(self) -> Evidence:
        hours, count = abs(self.ahead or 0.0) / _HOUR, self.others
        if (self.ahead or 0.0) > 0:
            return Code.clock_ahead(hours=hours, count=count)
        return Code.clock_behind(hours=hours, count=count)


def unplugged(interfaces: Sequence[str]) -> Finding:
    """The finding when none of these interfaces, all that this machine has, is connected."""
    found = (Code.link_is_down(names=tuple(interfaces[:_SHOWN]) or Code.no_interface()),)
    return Finding("local_network_down", Level.confirmed, 0.0, 0.0, 0.0, "0", found)


def meaning_of(finding: Finding) -> Meaning:
    """The verdict on a mirror that this explains."""
    return Meaning.of(finding.verdict, finding.evidence[0])
