"""Vendor pixels, decoded in processes that are shut in."""
