"""Portico: the interfaces portal of an imaging site (domain and web)."""
