"""Several hosts as one: limits, bans and keys through Valkey, views of mirrors through the store.

Read `cluster.py` first; docs/decisions/0022-cluster.md has the protocol. Imports `admission`.
"""
