"""Another connection holds the database: what pages, the REST interface and DIMSE answer meanwhile."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from peewee import OperationalError

from dimse_worker import status
from portal import models
from portal.access.actors import operator
from portal.devices import api_keys
from portal.models import File, Group
from portal.settings import Settings
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.archive import an_object, store, vendor_file
from tests.fixtures.web import HTMX, Visitor, text_of


@pytest.fixture
def hasty(site_settings: Settings) -> Iterator[None]:
    """No statement waits long for the database."""

    def bind(**waiting: int) -> None:
        models.bind(site_settings.database, **waiting)
        models.database.connect()

    bind(busy_ms=50)
    yield
    bind()


@contextmanager
def held(settings: Settings, *statements: str) -> Iterator[None]:
    with closing(sqlite3.connect(settings.database, isolation_level=None)) as other:
        for statement in statements or ("BEGIN IMMEDIATE",):
            other.execute(statement)
        yield


@pytest.fixture
def api(url: str, device: models.Device, hasty: None) -> Api:
    return Api(url, api_keys.issue(device, name="test", actor=operator()).secret)


def test_the_rest_interface_answers_503_and_when_to_come_back(api: Api, site_settings: Settings) -> None:
    acquisition = api.acquisition()
    ct = vendor_file("CT_small.dcm").read_bytes()
    tries: list[Callable[[], object]] = [
        lambda: api.post("/api/groups", json={"_id": "late"}),
        lambda: api.upload(acquisition, "ct.dcm", ct),
        lambda: api.upload(acquisition, "notes.txt", b"hello"),
    ]
    for attempt in tries:
        with held(site_settings):
            answer = attempt()
        assert_refused(answer, 503, "Try again in a few seconds")
        assert answer.headers["Retry-After"] == "5"
    assert File.select().count() == 0
    assert [attempt().status_code for attempt in tries] == [200, 200, 200]
    assert (File.select().count(), Group.select().where(Group.code == "late").count()) == (2, 1)


def test_a_page_answers_503_in_words_and_the_same_form_works_later(
    visitor: Visitor, hasty: None, site_settings: Settings
) -> None:
    form = {"label": "importer-east", "type": "importer"}
    sent = {"csrf_token": visitor.token(), **form}
    with held(site_settings):
        assert visitor.get("/").status_code == 200
        for headers in ({}, HTMX):
            answer = visitor.client.post("/interfaces/devices/new", data=sent, headers=headers)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "5"
            assert "Portico is busy" in text_of(answer.text)
            assert "Nothing was changed" in text_of(answer.text)
    assert visitor.client.post("/interfaces/devices/new", data=sent).status_code in (201, 303)


def test_a_page_that_cannot_even_be_read_answers_503_without_navigation(
    visitor: Visitor, hasty: None, site_settings: Settings
) -> None:
    models.database.close()
    with held(site_settings, "PRAGMA locking_mode=EXCLUSIVE", "BEGIN IMMEDIATE", "DELETE FROM setting", "COMMIT"):
        answer = visitor.get("/jobs/")
    models.database.connect(reuse_if_open=True)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "Portico is busy" in text_of(answer.text)


def test_a_c_store_is_answered_with_a700_and_succeeds_when_it_is_sent_again(site: Settings, hasty: None) -> None:
    with held(site), pytest.raises(OperationalError) as raised:
        store(an_object())
    answer = status.for_error(raised.value)
    assert (answer.Status, answer.ErrorComment) == (0xA700, "The database is busy. Try again in a minute.")
    assert File.select().count() == 0
    assert store(an_object()).outcome == "stored"
