"""Parts that all three packages need: settings, metrics, messages between processes, supervised
tasks.

Read `settings.py` first. Imports nothing of ours.
"""
