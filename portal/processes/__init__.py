"""`portal up`, and the processes that it runs."""
