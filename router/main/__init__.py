"""The composition root and the command line: imports every other part, imported by none."""
