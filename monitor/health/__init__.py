"""What is known about mirrors: pure values and pure decisions. Read `board.py` first."""
