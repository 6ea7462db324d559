"""One request's way, from a client's connection to a mirror and back.

Read `client_connection.py` first, then `exchange.py`. Imports `metering` and the rooms
below it.
"""
