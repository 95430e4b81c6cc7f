"""Fixtures of the tests in this folder."""

import pytest

from tests.fixtures.dimse import dimse_site, listener
from tests.fixtures.tls.listener import tls_listener
from tests.fixtures.work import acquisition, folder, mirror, project, queue, worker

IN_BOTH_MODES = (
    "test_association_policy",
    "test_commitment",
    "test_confirmation",
    "test_extended_negotiation",
    "test_peer_settings",
    "test_hostile_associations",
    "test_hostile_commitments",
    "test_hostile_destinations",
    "test_listener",
    "test_odd_messages",
    "test_receiving",
    "test_retrieval",
    "test_retrieved_bytes",
    "test_tls_callers",
    "test_silent_destinations",
    "test_final_statuses",
)
"""Tests of the protocol: they run over our own code for it, and over pynetdicom's."""


@pytest.fixture(autouse=True)
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Which code speaks DICOM with peers that call; None for the default."""
    chosen: str | None = getattr(request, "param", None)
    if chosen is not None:
        monkeypatch.setenv("PORTAL_DIMSE_WIRE", chosen)
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    is_listening = {"listener", "dimse_site", "tls_listener"} & set(metafunc.fixturenames)
    if is_listening and metafunc.module.__name__.rpartition(".")[2] in IN_BOTH_MODES:
        metafunc.parametrize("wire", ["fast", "stock"], indirect=True)
