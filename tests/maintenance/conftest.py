"""Fixtures of the tests in this folder."""

from tests.fixtures.web import app, reader, stranger, visitor
from tests.fixtures.work import acquisition, folder, mirror, project
