"""Accounts, grants and sessions."""
