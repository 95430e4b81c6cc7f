"""The audit log as people read it: filtered, each entry in words, and taken away as a file."""
