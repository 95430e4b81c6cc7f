"""Fixtures of the tests in this folder."""

from tests.fixtures.cli import portal
