"""Fixtures of the tests in this folder."""

from tests.fixtures.web import app, reader, stranger, visitor
