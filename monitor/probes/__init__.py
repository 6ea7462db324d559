"""Observations: each probe asks a mirror one question on a connection of its own.

Read `results.py` first. Imports `common`.
"""
