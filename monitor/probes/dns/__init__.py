"""Asking resolvers one by one, and keeping all that they say. Read `resolvers.py` first."""
