"""Fixtures of the tests in this folder."""

from tests.fixtures.cli import portal
from tests.fixtures.web import app, reader, stranger, visitor
from tests.fixtures.work import folder, mirror, queue, worker
from tests.verification.sites import database, project, verify
