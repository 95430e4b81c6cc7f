"""Fixtures of the tests in this folder."""

from tests.fixtures.stores import place, stores
from tests.fixtures.work import acquisition, folder, project, queue, worker
