"""Who acts, what they may do, and what was recorded of it."""
