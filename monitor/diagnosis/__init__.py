"""Meaning of observations: pure functions from results to verdicts and evidence.

Read `verdicts.py` first, then `classify.py`. Imports `common` and values of `probes`.
"""
