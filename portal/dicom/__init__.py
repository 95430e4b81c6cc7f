"""Encodings and value rules of the standard; no tables, no files."""
