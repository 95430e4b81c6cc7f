"""Fixtures of the tests in this folder."""

from tests.fixtures.api import api, device, serve, url
