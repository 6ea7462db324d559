"""What runs when: the schedule, the cycle of one probe, and what follows from its results.

Read `monitor.py` first, then `probe_cycle.py`. Imports all other rooms of the monitor.
"""
