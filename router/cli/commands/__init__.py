"""The commands of `mirrorgate`: a module for each, or for two of a kind, with `declare` and `run`.

`main.py` above lists them. Imports everything but `main` and `startup` of `cli`.
"""
