"""Fixtures of the tests in this folder."""

from tests.fixtures.dimse import dimse_site
from tests.fixtures.work import queue
