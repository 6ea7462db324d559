"""The commands of `mirrorgate`, one module each: `add` declares, `run` does."""
