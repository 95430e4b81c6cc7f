"""The declarations of the REST interface: one model for each body, query, address and response, by noun."""
