"""The data plane and the processes: forwards requests to mirrors that work.

A supervisor starts workers, which forward, and one control process, which wires
monitor and dashboard.
Read `router/forwarding/exchange.py` first: it is one request's way.
"""

from monitor.common import compiled as compiled  # decides on the form of all modules after it
