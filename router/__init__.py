"""The data plane and the processes: forwards requests to mirrors that work.

Of those not known to be down, one with the fewest requests in flight for its weight is taken.

A supervisor starts workers (this package) and one control process (monitor and dashboard).
Read `router/forwarding/exchange.py` first: it is one request's way.
"""

from monitor.common import compiled as compiled  # decides on the form of all modules after it
