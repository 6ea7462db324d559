"""Logging of every process: one line an event, as text or JSON, never a key, a query or a body."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from typing import Literal

from monitor.settings import setting


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", '"debug", "info", "warning" or "error"'
    )
    format: Literal["text", "json"] = setting("text", 'or "json"')
    access: str = setting(
        "off", 'one line a request: "off", a file, or "-" for stderr: never a query, a key or a body'
    )
