"""How bytes get to an external storage; the only place that knows Libcloud. No tables."""
