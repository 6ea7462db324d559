"""The command line `mirrorgate`: its parser, the start of `run`, and what the commands share.

Read `main.py` first; `commands/` has the commands. Imports everything, imported by nothing.
"""
