"""Fixtures of the tests in this folder."""

from tests.fixtures.dimse import dimse_site, listener
from tests.fixtures.web import app, stranger, visitor
