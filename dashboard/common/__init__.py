"""Parts that both applications need: connections, budgets of visitors, rendered pages, languages.

Read `sources.py` first. Imports nothing else of the dashboard.
"""
