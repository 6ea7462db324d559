"""The audit log of an instance that does not run."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from dashboard.admin.documents import log_document
from monitor.history.audit_rows import newest
from monitor.history.database import backend_of
from monitor.history.errors import StoreError, in_one_line
from router.main.console import CommandFailed


def read_log(url: str, limit: int, before: int | None) -> dict[str, Any]:
    """What the admin API would tell. Changes nothing, so that it is safe whoever uses the store."""
    try:
        engine = backend_of(url).reading()
        try:
            with Session(engine) as session:
                return log_document(newest(session, limit, before), limit)
        finally:
            engine.dispose()
    except StoreError as error:
        raise CommandFailed(str(error)) from None
    except DBAPIError as error:
        raise CommandFailed(f"store.url: it cannot be read: {in_one_line(error.orig)}") from None
