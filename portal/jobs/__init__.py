"""Background work: rows, leases, lanes, retries, items."""
