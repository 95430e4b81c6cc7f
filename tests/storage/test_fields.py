"""What a form of a storage says that does not fit is named all at once, beside the fields that it belongs to."""

import re
from typing import Any

import pytest

from portal.access.actors import Actor
from portal.errors import BadValue, BadValues, Taken
from portal.refusals import ErrorCollector
from portal.settings import Settings
from portal.storage import fields, storages
from tests.fixtures.web import Visitor, text_of

S3 = {"bucket": "research", "endpoint": "https://s3.site.example:9000", "access_key": "K"}


def refused(error: BadValues) -> list[str | None]:
    return [one.field for one in error.errors]


@pytest.mark.parametrize(
    ("provider", "config", "wrong"),
    [
        ("fs", {"path": "relative"}, ["path"]),
        (
            "s3",
            {"bucket": "", "region": "a b", "access_key": "a b", "endpoint": "nowhere", "ca": "none"},
            ["bucket", "region", "access_key", "endpoint", "ca", "secret_key"],
        ),
        ("s3", {"bucket": "research", "region": "a b", "access_key": "K"}, ["region", "secret_key"]),
        (
            "gcs",
            {"bucket": "B", "access_key": "a b", "endpoint": "http://169.254.169.254", "ca": "none"},
            ["bucket", "access_key", "endpoint", "ca", "secret_key"],
        ),
        (
            "azure",
            {"account": "A", "container": "C", "tenant": "?", "client": "?", "authority": "no", "endpoint": "no"},
            ["account", "container", "endpoint", "authority", "tenant", "client", "client_secret"],
        ),
        ("none", {"bucket": "b"}, ["provider"]),
    ],
)
def test_each_field_that_does_not_fit_is_named(
    provider: str, config: dict[str, Any], wrong: list[str], site: Settings, admin: Actor
) -> None:
    with pytest.raises(BadValues) as caught:
        storages.add("", provider, prefix="/", mode="steal", threads="99", actor=admin, **config)
    assert refused(caught.value) == ["label", "mode", "prefix", "threads", *wrong]
    assert all(one.message in caught.value.message for one in caught.value.errors)


def test_one_that_does_not_fit_is_raised_as_it_is(site: Settings, admin: Actor) -> None:
    storages.add("bucket", "s3", secret={"secret_key": "s"}, actor=admin, **S3)
    with pytest.raises(Taken) as caught:
        storages.add("bucket", "s3", secret={"secret_key": "s"}, actor=admin, **S3)
    assert caught.value.field == "label"


def test_a_change_names_each_field_too_and_asks_for_no_secret_that_stays(site: Settings, admin: Actor) -> None:
    for label in ("bucket", "other"):
        storages.add(label, "s3", secret={"secret_key": "s"}, actor=admin, **S3)
    whole = {**dict.fromkeys(("region", "ca", "path_style"), ""), **S3}
    with pytest.raises(BadValues) as caught:
        storages.edit("bucket", label="other", prefix="a//b", actor=admin, **{**whole, "region": "a b"})
    assert refused(caught.value) == ["prefix", "label", "region"]
    with pytest.raises(BadValues) as caught:
        storages.edit("bucket", region="a b", bucket="elsewhere", actor=admin)
    assert refused(caught.value) == ["region", "secret_key"]
    assert fields.clean_changes(storages.get("bucket"), {"region": "eu-1"}, {})[1] is None


def test_a_defect_within_is_not_taken_for_a_refusal() -> None:
    def defect() -> None:
        with ErrorCollector() as refusals:
            refusals.add(BadValue("It does not fit."))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        defect()


def test_the_form_shows_all_of_them_and_has_the_focus_on_the_first(visitor: Visitor) -> None:
    form = {"provider": "s3", "label": "", "bucket": "!", "region": "a b", "access_key": "K", "endpoint": "x"}
    answer = visitor.post("/interfaces/storages/new", {**form, "mode": "export", "visible": "site", "prefix": "/"})
    assert answer.status_code == 422
    assert re.findall(r'id="(\w+)-e"', answer.text) == ["label", "bucket", "region", "endpoint", "secret_key", "prefix"]
    assert re.findall(r'id="(\w+)"[^>]* autofocus', answer.text) == ["label"]
    assert "A region has a name of letters, digits and dashes" in text_of(answer.text)
