"""The engine: the schedule, the cycle of one probe, and reactions to its results.

Read `monitor.py` first, then `probe_cycle.py`. Imports all other rooms of the monitor but
`notify`.
"""
