"""The dashboard: the public status page, the operators' desk and /metrics.

It reads what the monitor knows and changes nothing itself: what operators command (an override,
a ban, a reload) goes to the composition root.
Read `common/sources.py` first, then `public/app.py` and `admin/app.py`: the two applications.
"""
