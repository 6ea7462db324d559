"""Texts of one verdict in one language; every verdict has an entry in each of `words_*.py`."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Texts of a verdict; in them `{likely}` stands for how sure it is, `{cdn}` for the name of the
    network, `{clock}` for the time here."""

    what: str
    """What is wrong, as a clause."""
    cause: str = ""
    """What may be behind it, as a clause; empty where that is said already."""
    todo: str = ""
    """What a person can do, as a sentence, the cheapest deciding test first; empty: nothing."""
    now: str = ""
    """What mirrorgate does, in sentences, where it is not what the reaction's scope says, for which
    `{now}` stands."""
    proof: str = ""
    """What a suspicion lacks to be confirmed, as a noun phrase."""
    given: str = ""
    """What has to be true for an observation to mean this, as a clause."""
