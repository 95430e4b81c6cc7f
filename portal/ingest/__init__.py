"""The one door in: how an object is received, judged, placed and indexed."""
