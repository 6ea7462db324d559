"""Streams of events: where one ends, what it says, and until when an answer can still be changed.

Read `hold.py` first.
"""
