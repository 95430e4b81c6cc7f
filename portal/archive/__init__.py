"""The archive: append-only segments that hold every byte as it was received."""
