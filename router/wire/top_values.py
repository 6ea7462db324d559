"""The values of a JSON request body that forwarding depends on, as msgspec decodes them."""

from __future__ import annotations

import msgspec


class TopValues(msgspec.Struct, gc=False):
    """The JSON of top-level values; empty for a key that is not there.

    Of equal keys the last counts, as for `json.loads`.
    """

    model: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()
    store: msgspec.Raw = msgspec.Raw()
