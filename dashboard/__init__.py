"""The dashboard: the public status page, the operators' desk and /metrics.

It reads what the monitor knows and changes nothing itself: what operators command (a wish for a
mirror, a ban, a reload) goes to the composition root, see `sources.py`.
Read `dashboard/app.py` first: it builds the two aiohttp applications.
"""
