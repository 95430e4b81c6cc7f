"""Exports: what is planned, copied, proved, sent, repeated."""
