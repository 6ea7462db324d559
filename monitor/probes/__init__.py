"""Probes: each asks a mirror one question on a connection of its own. Read `result.py` first."""
