"""Fixtures of the tests in this folder."""

from tests.fixtures.cli import portal
from tests.fixtures.stores import guarded, make_front, place, stores
from tests.fixtures.web import app, stranger, visitor
from tests.fixtures.work import acquisition, folder, mirror, project, queue, worker
