"""Admission: client addresses, limits, bans, keys, and the scope of each.

Read `limits.py` and `credentials.py` first. Imports `wire` and `balancing`.
"""
