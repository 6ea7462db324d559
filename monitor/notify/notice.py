"""Notice: one change that an operator may want to hear of."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.common.languages import Text
from monitor.notify.config import Kind


@dataclass(frozen=True, slots=True)
class Notice:
    """A change, in both languages. `at`: seconds since the epoch."""

    kind: Kind
    subject: str
    """The id of a mirror or an issued key; empty where it concerns the instance."""
    at: float
    said: Text
    level: str = ""
    """How far it has come: "suspected", "confirmed"; days left; per cent of a quota."""
    ended: bool = False
    """True if this is the end of the condition."""

    @property
    def topic(self) -> tuple[str, str]:
        """The condition that it is about: the notices of one replace each other."""
        kind = Kind.down if self.kind is Kind.up else self.kind
        return kind.value, self.subject
