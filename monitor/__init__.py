"""The monitor: probes of mirrors, their diagnosis, health and history.

The bottom layer: it owns the words Mirror, health, snapshot and history, and knows nothing of
proxies or pages. Probes ask one question each, pure functions judge, the board publishes.
Read `monitor/engine/monitor.py` first: it wires the way of a probe.
"""
