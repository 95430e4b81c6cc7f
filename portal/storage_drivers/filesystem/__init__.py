"""A folder of this machine as an external storage."""
