"""External storage: where exports go. The only place that knows Libcloud."""
