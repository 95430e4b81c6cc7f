"""Fixtures of the tests in this folder."""

from tests.fixtures.lists import empty_database, full, full_database
from tests.fixtures.web import app, dimse, reader, stranger, visitor
