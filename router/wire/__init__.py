"""HTTP/1.1, server-sent events, WebSocket and the PROXY protocol as bytes; no sockets, no settings.

Read `request.py` first, then `response.py`. Imports nothing of the router.
"""
