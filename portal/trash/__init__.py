"""What is hidden, restored and purged."""
