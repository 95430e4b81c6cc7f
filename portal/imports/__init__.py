"""Imports: objects of an external storage, copied into a project."""
