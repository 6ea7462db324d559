"""The store: the only room that touches the database.

Read `store.py` first, then `tables.py`. Imports `common` and values of `health` and `diagnosis`.
"""
