"""Recovery, reindex, quarantine, replication and retention: what keeps a site whole."""
