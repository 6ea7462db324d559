"""Which mirror gets a request: pure decisions over values. Read `selection.py` first."""
