"""How the tables came to be, step by step; `schema.py` runs what is missing."""
