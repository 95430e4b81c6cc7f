"""Fixtures of the tests in this folder."""

from tests.fixtures.dimse import dimse_site, listener
from tests.fixtures.stores import make_front, stores
from tests.fixtures.web import app, stranger, visitor
from tests.fixtures.work import acquisition, folder, mirror, project
