"""Languages of the pages: catalogues of texts, the choice of a language, dates and durations.

Read `texts.py` first. A language is a file in `locale/`. Imports nothing else of the dashboard.
"""
