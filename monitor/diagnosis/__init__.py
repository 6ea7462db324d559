"""What results mean: pure functions from evidence to words. Read `verdict.py` first."""
