"""What is said of containers: changed as a whole, and their info, tags and notes."""
