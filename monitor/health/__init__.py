"""Health of mirrors: frozen snapshots and pure decisions about them.

Read `snapshot.py` first. Imports `common` and values of `probes` and `diagnosis`.
"""
