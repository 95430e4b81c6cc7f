"""Ingest, the only way into the archive: how an object is received, judged, placed and indexed."""
