"""The operators' desk: its pages, the admin API (on the Unix socket too), and /metrics.

Read `app.py` first, then `pages.py` and `api.py`. Imports `public` and the rooms below it.
"""
