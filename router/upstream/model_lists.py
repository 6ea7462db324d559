"""Which mirrors lack a model that another one has, by what they list for their own keys.

Such a list leaves a mirror out only when another mirror that is in rotation, lends its key and
serves every path has the model: a list may be wrong, and somebody must be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from monitor.common.config import MirrorConfig
from monitor.health.snapshot import MirrorHealth


class ListingMirror(Protocol):
    """A mirror as this module sees it."""

    @property
    def mirror(self) -> MirrorConfig:
        """Its settings."""

    @property
    def health(self) -> MirrorHealth:
        """The mirror's health in the last snapshot."""


def models_of(lister: ListingMirror) -> frozenset[str]:
    """Models of a mirror by the operator's settings, else by its own list; empty: not known."""
    mirror, listed = lister.mirror, frozenset(lister.health.models)
    if mirror.models:
        return only_models(mirror)
    return listed | {name for name, target in mirror.model_map.items() if target in listed}


def only_models(mirror: MirrorConfig) -> frozenset[str]:
    """The only models of a mirror, by the operator's settings; empty: any."""
    return frozenset((*mirror.models, *mirror.model_map)) if mirror.models else frozenset()


def named_by(lister: ListingMirror) -> frozenset[str]:
    """All names of models that it is known to take, from the operator and from its own list."""
    mirror = lister.mirror
    return frozenset((*mirror.models, *mirror.model_map, *lister.health.models))


def lacking(listers: Sequence[ListingMirror]) -> list[frozenset[str]]:
    """For each of them the models that it does not list while another one has them."""
    known = [models_of(lister) for lister in listers]
    offered: set[str] = set()
    for lister, models in zip(listers, known, strict=True):
        if can_be_asked(lister) and not lister.mirror.paths:
            offered |= models
    return [
        frozenset(offered - models) if models and not lister.mirror.models else frozenset()
        for lister, models in zip(listers, known, strict=True)
    ]


def can_be_asked(lister: ListingMirror) -> bool:
    """True if requests that need its own key may go there."""
    mirror, health = lister.mirror, lister.health
    lends = bool(mirror.api_key) and not health.key_refused
    return mirror.enabled and health.in_rotation and lends
