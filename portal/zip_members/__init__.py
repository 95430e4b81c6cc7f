"""The members of a zip: what its directory says, what makes a zip hostile, and each member's bytes as a file."""
