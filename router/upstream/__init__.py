"""Connections to mirrors: paths, pooling, limits, the queue, and what is sent on them.

Read `upstream.py` first, then `connection.py`. Imports `wire`, `balancing` and `admission`.
"""
