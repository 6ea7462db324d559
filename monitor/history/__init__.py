"""What has been: samples, transitions, bans and wishes in the store. Read `store.py` first."""
