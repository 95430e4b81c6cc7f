"""Storage commitment (PS3.4 J): what a peer may rely on that we keep, and what we may rely on that a peer keeps."""
