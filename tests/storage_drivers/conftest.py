"""Fixtures of the tests in this folder."""

from tests.fixtures.cloud_stores import authority, entra, secure_azurite
from tests.fixtures.stores import make_front, place, stores
from tests.fixtures.work import acquisition, folder, mirror, project, queue
