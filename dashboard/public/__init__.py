"""The public status page. What it tells is built field by field: see `documents.py`.

Read `app.py` first, then `pages.py`. Imports `guide`, `common` and `i18n`.
"""
