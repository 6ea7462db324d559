"""The words of the pages, in Chinese and English, and how moments and durations are said."""
