"""The room of several hosts: how instances hold limits, bans and keys together through Valkey, and
compare what they see of mirrors through the store.

Begin with `cluster.py`; docs/decisions/0022 has the protocol. May import admission and below.
"""
