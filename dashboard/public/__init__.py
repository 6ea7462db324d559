"""The public status page. What it tells is built field by field: see `documents.py`."""
