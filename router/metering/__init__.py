"""Use of issued keys: what a request may cost, what its response has used, and who is charged.

Read `metered_request.py` first, then `meter.py`. Imports `upstream` and the rooms below it.
"""
