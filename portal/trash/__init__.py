"""The trash: items are hidden, restored and purged."""
