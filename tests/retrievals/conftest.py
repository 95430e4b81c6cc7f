"""Fixtures of the tests in this folder. Those of the protocol run as those of `tests/dimse_worker` do."""

from tests.dimse_worker.conftest import pytest_generate_tests, wire
from tests.fixtures.dimse import dimse_site, listener
from tests.fixtures.web import app, stranger, visitor
