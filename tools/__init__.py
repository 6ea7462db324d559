"""Scripts of the project: generated documents, and checks of the structure."""
