"""Imports: what is taken in from an external storage."""
