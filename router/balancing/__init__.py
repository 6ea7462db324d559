"""Which mirror gets a request, what a failure means, and what may be retried: pure decisions.

Read `selection.py` first, then `pool.py`. Imports `wire`.
"""
