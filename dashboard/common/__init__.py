"""Parts that both applications need: connections, budgets of visitors, rendered pages.

Read `sources.py` first. Imports `i18n`.
"""
