"""HTTP/1.1 on both sides, as bytes and callbacks. Read `request.py` first, then `upstream.py`."""
