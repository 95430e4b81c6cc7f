"""What failed in a peer's C-MOVE or C-GET, sent again to the same destination."""
