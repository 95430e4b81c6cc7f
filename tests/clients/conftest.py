"""Fixtures of the tests in this folder; they share one site, so one process runs them all (group `clients`)."""

from tests.fixtures.api import device, serve, url
from tests.fixtures.clients import caller, fw, label, project, sdk, site_of_clients, tree
