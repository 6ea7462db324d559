"""Notifications: changes that an operator should hear of, sent to chats, webhooks and mailboxes.

Read `notifier.py` first: it takes notices and hands them to a `Receiver` each. `conditions.py`
finds what has changed, `batching.py` groups it and keeps it quiet, `message.py` puts it into words
and `formats.py` into the shape of a service. Imports `common` and values of `health` and
`diagnosis`.
"""
