"""TLS under an association, as acceptor and as requestor (PS3.15 B.12 and B.13, BCP 195)."""
