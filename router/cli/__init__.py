"""The command line `mirrorgate`; each command is a module with `declare` and `run`.

Read `main.py` first. Imports everything, imported by nothing.
"""
