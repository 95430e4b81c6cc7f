"""Vendor pixels, decoded in sandboxed processes."""
