"""Cost of forwarding through mirrorgate beside others: the same work, in the same run.

`python -m benchmarks` (or `make bench`) measures; docs/benchmarks.md says how, and what of. Read
`rounds` first: it is the measurement. `workloads` is the work, `proxies` are those who do it,
`load` makes them do it, `summary` and `report` say what came out.
"""
