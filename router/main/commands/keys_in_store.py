"""The keys in the file of an instance that does not run."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dashboard.admin import key_inputs
from dashboard.admin.actors import user_name
from dashboard.admin.inputs import BadInput
from dashboard.admin.key_documents import created_document, key_document, key_documents
from dashboard.steps import all_at_once
from monitor.actors import Actor
from monitor.history.store import Store, StoreError
from monitor.keys import KeyAccount, KeyFault, NewKey
from router.main.console import CommandFailed
from router.main.document import has_store
from router.main.keyring import Keyring

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeysInStore:
    """What `Keys` can do, done here; nothing is changed while an instance uses the store."""

    url: str
    prefix: str

    def all(self, days: int) -> Table:
        """All of them, with what they used lately."""

        async def ask(keyring: Keyring) -> Table:
            return all_at_once(key_documents(await keyring.accounts_since(days), days, time.time()))

        if not has_store(self.url):
            return all_at_once(key_documents([], days, time.time()))
        return self._with_keyring(ask)

    def create(self, order: Table) -> Table:
        """A new one."""

        async def make(keyring: Keyring) -> Table:
            wanted = key_inputs.order(json.dumps(order).encode(), time.time())
            account, key = await keyring.create(wanted, _actor())
            return created_document(NewKey(account, key), time.time())

        return self._with_keyring(make)

    def revoke(self, key_id: str) -> Table:
        """One less."""
        return self._changed(lambda keyring: keyring.revoke(key_id, _actor()))

    def top_up(self, key_id: str, more: Table) -> Table:
        """More for one."""
        quota, tokens = key_inputs.more(json.dumps(more).encode())
        return self._changed(lambda keyring: keyring.top_up(key_id, quota, tokens, _actor()))

    def _changed(self, change: Callable[[Keyring], Awaitable[KeyAccount]]) -> Table:
        async def act(keyring: Keyring) -> Table:
            return key_document(await change(keyring), time.time())

        return self._with_keyring(act)

    def _with_keyring(self, act: Callable[[Keyring], Awaitable[Table]]) -> Table:
        """Open the store for one act."""

        async def run() -> Table:
            store = await Store.open(self.url, aside=True)
            try:
                book = await store.key_book()
                return await act(Keyring(store, book, lambda message: None, self.prefix))
            finally:
                await store.close()

        try:
            return asyncio.run(run())
        except (StoreError, KeyFault, BadInput) as error:
            raise CommandFailed(str(error)) from None


def _actor() -> Actor:
    return Actor(user_name(os.getuid()), f"the store itself (pid {os.getpid()})")
