"""Who may come in: client addresses, limits, bans, keys, and what each may ask for.

Read `limits.py` and `credentials.py` first. Imports `wire` and `balancing`.
"""
