"""The real selection, breaker and retry modules on a virtual clock, with scripted mirrors.

Hours of outages in seconds, the same for every rival. Read `way.py` first: one request's way.
"""
