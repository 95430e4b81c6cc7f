import pytest

from dimse_worker import refusals
from dimse_worker.refusals import AT_ONCE, MAX_WAITING, Refusals
from portal.models import Caller, Hourly
from portal.peers.refused_callers import Refusal
from tests.fixtures.dimse import rows

pytestmark = pytest.mark.usefixtures("site")


def refusal(calling: str = "STRANGER", *, services: frozenset[str] = frozenset()) -> Refusal:
    said = {"called": "PORTICO", "address": "192.0.2.1", "reason": "unknown", "message": "No peer has this AE title."}
    return Refusal(calling=calling, wanted=services, **said)  # type: ignore[arg-type]


def test_a_flood_of_refusals_is_written_together_and_each_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AGAIN_AFTER", 1e9)
    flood = Refusals()
    for _ in range(AT_ONCE):
        flood.add(refusal())
    assert [row.count for row in rows(Caller)] == [AT_ONCE]
    for number in range(300):
        flood.add(refusal(services=frozenset({"store", "find"} if number % 2 else {"echo"})))
        flood.add(refusal("OTHER"))
    assert [row.count for row in rows(Caller)] == [AT_ONCE]
    flood.write()
    assert [(row.count, row.wanted) for row in rows(Caller)] == [
        (AT_ONCE + 300, ["echo", "find", "store"]),
        (300, []),
    ]
    assert Hourly.get(Hourly.kind == "refused").number == AT_ONCE + 600


def test_of_ever_new_titles_some_are_named_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AGAIN_AFTER", 1e9)
    flood = Refusals()
    for number in range(5000):
        flood.add(refusal(f"EVIL{number}"))
    flood.write()
    assert len(rows(Caller)) == AT_ONCE + MAX_WAITING
    assert Hourly.get(Hourly.kind == "refused").number == 5000


def test_one_after_the_other_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AGAIN_AFTER", 0.0001)
    flood = Refusals()
    for number in range(1, 3 * AT_ONCE):
        flood.add(refusal())
        assert [row.count for row in rows(Caller)] == [number]
