"""The one door out: find and retrieve."""
