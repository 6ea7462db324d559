"""The operators' desk: the admin API on the Unix socket, and /metrics.

Read `app.py` first, then `api.py`. Imports `common` and `public`.
"""
