"""DIMSE by pynetdicom's own threads, where the fast path is switched off."""
