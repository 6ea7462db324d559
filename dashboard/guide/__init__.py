"""The instructions for users of the API: examples, apps, and what errors ask for. Pure.

Read `examples.py` first; the examples themselves are files in `snippets/`, and a test runs every
one that a page shows. Imports nothing else of the dashboard.
"""
