"""Keys and the audit log of an instance that does not run, from its store."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from dashboard.admin import inputs
from dashboard.admin.audit import user_name
from dashboard.admin.documents import created_document, key_document, key_documents, log_document
from dashboard.admin.inputs import BadInput
from dashboard.common.steps import all_at_once
from monitor.common.audit import Actor
from monitor.common.keys import KeyAccount, KeyFault, NewKey
from monitor.store.audit import newest
from monitor.store.database import backend_of
from monitor.store.errors import in_one_line
from monitor.store.store import Store, StoreError
from router.cli.console import CommandFailed
from router.control.document import has_store
from router.control.key_service import KeyService

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeysInStore:
    """`Keys` in the store; nothing is changed while an instance uses it."""

    url: str
    prefix: str

    def all(self, days: int) -> Table:
        """All of them, with what they used lately."""

        async def ask(key_service: KeyService) -> Table:
            return all_at_once(
                key_documents(await key_service.accounts_since(days), days, time.time())
            )

        if not has_store(self.url):
            return all_at_once(key_documents([], days, time.time()))
        return self._with_keyring(ask)

    def create(self, order: Table) -> Table:
        """A new one."""

        async def make(key_service: KeyService) -> Table:
            wanted = inputs.order(json.dumps(order).encode(), time.time())
            account, key = await key_service.create(wanted, _actor())
            return created_document(NewKey(account, key), time.time())

        return self._with_keyring(make)

    def revoke(self, key_id: str) -> Table:
        """One less."""
        return self._changed(lambda key_service: key_service.revoke(key_id, _actor()))

    def top_up(self, key_id: str, more: Table) -> Table:
        """More for one."""
        quota, tokens = inputs.more(json.dumps(more).encode())
        return self._changed(
            lambda key_service: key_service.top_up(key_id, quota, tokens, _actor())
        )

    def _changed(self, change: Callable[[KeyService], Awaitable[KeyAccount]]) -> Table:
        async def act(key_service: KeyService) -> Table:
            return key_document(await change(key_service), time.time())

        return self._with_keyring(act)

    def _with_keyring(self, act: Callable[[KeyService], Awaitable[Table]]) -> Table:
        """Open the store for one act."""

        async def run() -> Table:
            store = await Store.open(self.url, aside=True)
            try:
                book = await store.key_book()
                return await act(KeyService(store, book, lambda message: None, self.prefix))
            finally:
                await store.close()

        try:
            return asyncio.run(run())
        except (StoreError, KeyFault, BadInput) as error:
            raise CommandFailed(str(error)) from None


def _actor() -> Actor:
    return Actor(user_name(os.getuid()), f"the store itself (pid {os.getpid()})")


def read_log(url: str, limit: int, before: int | None) -> dict[str, Any]:
    """Read the audit log as the admin API returns it. Changes nothing, so it is safe beside an
    instance."""
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
