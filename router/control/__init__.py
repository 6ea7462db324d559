"""The control process: configuration, monitor, store, dashboard and the workers' channels, wired.

Read `control.py` first. Imports all other rooms but `cli`.
"""
