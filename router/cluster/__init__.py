"""The room of several hosts: how instances hold limits, bans and keys together through Valkey.

Begin with `cluster.py`; docs/decisions/0022 has the protocol. May import admission and below.
"""
