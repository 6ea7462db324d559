"""The data plane and the processes: forwards requests to the healthiest mirror.

A supervisor starts workers (this package) and one control process (monitor and dashboard).
Read `router/exchange.py` first: it is one request's way.
"""
