"""What results mean: pure functions from evidence to words. Read `answer.py` first."""
