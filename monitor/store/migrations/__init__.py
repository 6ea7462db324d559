"""Migrations of the tables, step by step; `schema.py` runs what is missing."""
