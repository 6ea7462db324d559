"""The processes of an instance: the supervisor, its children, and one wired worker.

Read `supervisor.py` first, then `worker.py`. Imports `cluster`, `forwarding` and the
rooms below it.
"""
