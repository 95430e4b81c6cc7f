"""Fixtures of the tests in this folder."""

from tests.fixtures.browser import browser_type_launch_args, person, running
from tests.fixtures.hospital import hospital
from tests.fixtures.stores import stores
from tests.fixtures.web import app, dimse, reader, stranger, visitor
