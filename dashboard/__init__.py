"""What people see: the public status page, the operators' desk and /metrics.

It reads what the monitor knows and writes nothing but operators' wishes.
Read `dashboard/app.py` first: it builds the two aiohttp applications.
"""
