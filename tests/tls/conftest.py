"""Fixtures of the tests in this folder."""

from tests.fixtures.cli import portal
from tests.fixtures.web import app, dimse, stranger, visitor
