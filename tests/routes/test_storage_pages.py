"""The form and the page of a storage: one provider's fields, secrets that never come back, and what its jobs tell."""

import ast
import csv
import io
import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from portal.access.actors import Actor
from portal.exports import exports, schedules
from portal.jobs import jobs
from portal.models import Audit, Job, Storage, database, now, writing
from portal.storage import credentials, providers, storages
from portal.storage import history as storage_history
from tests.fixtures.archive import a_project
from tests.fixtures.web import HTMX, MOST_STATEMENTS, Visitor, refusal, statements, text_of

NEW = "/interfaces/storages/new"
PLANTED = "a-planted-secret"
S3 = {
    "provider": "s3",
    "label": "bucket",
    "mode": "export",
    "bucket": "research",
    "endpoint": "https://s3.site.example:9000",
    "access_key": "AKIA",
    "secret_key": PLANTED,
    "visible": "site",
    "save_only": "1",
}
SECRETS = {
    "azure": {"account": "hospital", "container": "research", "account_key": f"{'cGxhbnRlZC' * 8}"},
    "gcs": {"bucket": "research", "service_account": '{"planted": "a-planted-secret"}'},
}


@pytest.fixture
def bucket(visitor: Visitor) -> Storage:
    """A storage of S3 that somebody has added in the web."""
    visitor.post(NEW, S3)
    return storages.get("bucket")


def named_in(page: str) -> set[str]:
    """Names of the fields that a form asks for."""
    known = {field.name for one in providers.PROVIDERS.values() for field in one.form}
    return {name for name in known if f'name="{name}"' in page}


def test_the_provider_is_chosen_first(visitor: Visitor) -> None:
    page = visitor.get(NEW).text
    assert named_in(page) == set()
    for name, provider in providers.PROVIDERS.items():
        assert f'href="{NEW}?provider={name}"' in page
        assert provider.label in text_of(page)
    assert named_in(visitor.get(f"{NEW}?provider=none").text) == set()


@pytest.mark.parametrize("provider", providers.PROVIDERS)
def test_only_the_fields_of_the_chosen_provider_are_asked_for_as_a_page_and_as_a_part(
    visitor: Visitor, provider: str
) -> None:
    whole, part = (
        visitor.get(f"{NEW}?provider={provider}").text,
        visitor.get(f"{NEW}?provider={provider}", headers=HTMX),
    )
    wanted = {field.name for field in providers.PROVIDERS[provider].form}
    assert named_in(whole) == named_in(part.text) == wanted
    assert 'name="label"' in whole
    assert part.text.lstrip().startswith('<div id="of-provider">')
    assert f'<input type="hidden" name="provider" value="{provider}">' in part.text


def test_each_field_that_a_provider_describes_is_told_apart_and_explained() -> None:
    for provider in providers.PROVIDERS.values():
        names = [field.name for field in provider.form]
        assert len(names) == len(set(names))
        assert set(provider.place) | set(provider.account) <= set(provider.fields)
        assert not set(provider.fields) & set(provider.secrets)
        assert all(field.label and field.hint for field in provider.form)


def test_a_bucket_is_added_and_its_secret_is_sealed_and_never_shown(visitor: Visitor, bucket: Storage) -> None:
    assert bucket.config["path_style"] is True
    assert credentials.reveal(bucket) == {"secret_key": PLANTED}
    for path in ("", "/edit"):
        page = visitor.get(f"/interfaces/storages/{bucket.id}{path}")
        assert PLANTED not in page.text
        assert f"by {visitor.email}" in text_of(page.text)
    assert PLANTED not in repr([row.detail for row in Audit.select()])


@pytest.mark.parametrize("provider", ["s3", *SECRETS])
def test_a_secret_does_not_come_back_with_an_error(visitor: Visitor, provider: str) -> None:
    form = {**S3, "provider": provider, "label": "a/b"} | SECRETS.get(provider, {})

    answer = visitor.post(NEW, form)

    assert answer.status_code == 422
    assert "planted" not in answer.text
    assert form.get("account_key", PLANTED) not in answer.text
    assert "Enter it again: secrets are never sent back to a page." in answer.text
    assert not Storage.select().exists()


@pytest.mark.parametrize(
    ("change", "beside", "message"),
    [
        ({"bucket": ""}, "bucket", "A bucket has a name of letters"),
        ({"endpoint": "ftp://x"}, "endpoint", "http"),
        ({"endpoint": "http://169.254.169.254"}, "endpoint", "169.254.169.254"),
        ({"region": "a b"}, "region", "A region has a name"),
        ({"ca": "no certificate"}, "ca", "PEM"),
        ({"access_key": ""}, "access_key", "A secret needs its access key"),
        ({"secret_key": ""}, "secret_key", "Enter the secret of the access key."),
    ],
)
def test_a_field_of_a_provider_is_refused_beside_it(
    visitor: Visitor, change: dict[str, str], beside: str, message: str
) -> None:
    answer = visitor.post(NEW, {**S3, **change})
    refusal(answer, message)
    assert f'id="{beside}-e"' in answer.text
    assert 'value="https://s3.site.example:9000"' in answer.text or "endpoint" in change
    assert not Storage.select().exists()


def test_the_form_of_an_edit_holds_what_was_saved(visitor: Visitor, bucket: Storage) -> None:
    path = f"/interfaces/storages/{bucket.id}/edit"
    visitor.post(path, {**S3, "secret_key": "", "prefix": "nightly/of us", "region": "eu-1", "path_style": "no"})

    page = visitor.get(path).text

    for value in ("bucket", "research", "https://s3.site.example:9000", "eu-1", "AKIA", "nightly/of us"):
        assert f'value="{value}"' in page
    assert '<option value="no" selected>' in page
    assert 'name="label"' in page


def test_an_edit_keeps_the_secret_and_another_place_asks_for_it_again(visitor: Visitor, bucket: Storage) -> None:
    path = f"/interfaces/storages/{bucket.id}/edit"
    form = {**S3, "secret_key": ""}

    visitor.post(path, {**form, "label": "renamed", "mode": "both"})
    assert credentials.reveal(storages.get("renamed")) == {"secret_key": PLANTED}

    for change in ({"bucket": "other"}, {"endpoint": "https://elsewhere.example"}, {"access_key": "AKIB"}):
        answer = visitor.post(path, {**form, **change})
        refusal(answer, "Enter the secret of the access key.")
        assert 'id="secret_key-e"' in answer.text
    assert storages.get("renamed").config["bucket"] == "research"

    visitor.post(path, {**form, "bucket": "other", "secret_key": "another-one"})
    assert storages.get("bucket").config["bucket"] == "other"
    assert credentials.reveal(storages.get("bucket")) == {"secret_key": "another-one"}
    history = text_of(visitor.get(f"/interfaces/storages/{bucket.id}").text)
    assert "Changed, with new credentials" in history
    assert "bucket: research → other" in history
    assert "another-one" not in history


def test_another_provider_is_chosen_on_the_form_of_an_edit(visitor: Visitor, bucket: Storage) -> None:
    path = f"/interfaces/storages/{bucket.id}/edit"
    page = visitor.get(f"{path}?provider=gcs").text
    assert named_in(page) == {field.name for field in providers.PROVIDERS["gcs"].form}
    assert "Set on" not in text_of(page)

    answer = visitor.post(path, {**S3, "provider": "gcs", "access_key": "", "secret_key": ""})

    refusal(answer, "Enter the JSON key of a service account")
    assert storages.get("bucket").provider == "s3"


def test_where_objects_were_exported_the_place_stays_and_the_form_says_so(visitor: Visitor, bucket: Storage) -> None:
    storages.lock_place(bucket)
    path = f"/interfaces/storages/{bucket.id}/edit"
    page = visitor.get(f"{path}?provider=gcs").text
    assert text_of(page).count("Cannot be changed: objects were exported there.") == 4
    assert re.findall(r'id="(\w+)"[^>]* readonly', page) == ["bucket", "endpoint", "prefix"]
    assert "Google" not in page

    for field, value in (("prefix", "new"), ("bucket", "other"), ("provider", "gcs")):
        change = {"service_account": ""} if field == "provider" else {}
        answer = visitor.post(path, {**S3, **change, field: value, "access_key": "GOOGX", "secret_key": "x"})
        refusal(answer, f"so its {field} cannot change.")
        assert f'id="{field}-e"' in answer.text
        assert f'value="{bucket.config["bucket"]}"' in answer.text
        assert f'name="prefix" type="text" value="{bucket.prefix}"' in answer.text


def furnish(storage: Storage, actor: Actor) -> None:
    """A year of tests, three each day, every seventh failed, and forty exports of a million objects each."""
    with writing():
        for number in range(1100):
            row = jobs.create("storage_test", actor=actor, params={"storage": storage.id}, what=storage.label)
            end_at(row, "failed" if number % 7 == 0 else "done", now() - timedelta(hours=8 * number))
        for number in range(40):
            row = jobs.create(
                "export", actor=actor, params={"storage": storage.id, "path": "a/b", "to": "x"}, what=f"n{number}"
            )
            sums = {"total": 1_000_000, "done": 1_000_000, "bytes": 10**9}
            end_at(row, "errors" if number % 10 == 0 else "done", now() - timedelta(days=number), **sums)


def end_at(job: Job, state: str, moment: object, **sums: int) -> None:
    result = {"steps": [{"name": "Listed", "state": "ok", "message": "Objects there now: 7.", "ms": 3}]}
    Job.update(state=state, ended=moment, message="Every step.", result=result, **sums).where(
        Job.id == job.id
    ).execute()


def test_the_page_tells_what_its_jobs_were_by_few_statements_on_an_index(
    visitor: Visitor, bucket: Storage, admin: Actor
) -> None:
    furnish(bucket, admin)
    storages.record_test(bucket.id, state="degraded", message="It replaced an object.", create_only=False)

    with statements() as sent:
        page = visitor.get(f"/interfaces/storages/{bucket.id}")

    assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)
    said = text_of(page.text)
    assert "Exports 40 Objects 40,000,000 Size 40 GB" in said
    assert (
        "This storage does not support conditional writes: Portico checks for an existing object before each write."
        in said
    )
    assert "Next test in" in said
    assert "Objects there now: 7." in said
    assert "n39" in said
    tests, exports = storage_history.last_30_days(bucket.id, "export", ZoneInfo("UTC")).rows
    assert sum(tests.all) in range(87, 91)
    assert sum(tests.failed) in (12, 13)
    assert (sum(exports.all), sum(exports.failed)) == (30, 3)


def test_what_a_storage_holds_and_its_last_month_are_found_by_an_index(bucket: Storage, admin: Actor) -> None:
    storages.record_test(bucket.id, state="ok", message="Fine.")
    tested = storages.by_id(bucket.id)
    asked = (
        lambda: storage_history.job_totals([bucket.id]),
        lambda: storage_history.last_test(bucket.id),
        lambda: storage_history.export_that_tested(tested, None),
        lambda: storage_history.job_totals([bucket.id], "import"),
        lambda: storage_history.recent_transfers(bucket.id, limit=8),
        lambda: storage_history.last_30_days(bucket.id, "both", ZoneInfo("UTC")),
    )
    for ask in asked:
        with statements() as sent:
            ask()
        for statement in sent:
            sql, values = ast.literal_eval(statement)
            plan = database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
            assert "INDEX job_storage_kind_ended" in str(plan), plan


def test_the_ladder_of_a_running_test_is_sent_alone(visitor: Visitor, bucket: Storage) -> None:
    visitor.post(f"/interfaces/storages/{bucket.id}/test")
    with statements() as sent:
        part = visitor.get(f"/interfaces/storages/{bucket.id}", headers=HTMX).text
    assert part.lstrip().startswith('<section class="card" aria-label="Test"')
    assert "waiting for a worker" in part
    assert len(sent) <= 8


def test_removing_says_in_numbers_what_stays(visitor: Visitor, bucket: Storage, admin: Actor) -> None:
    path = f"/interfaces/storages/{bucket.id}/remove"
    assert "Nothing was exported to it." in text_of(visitor.get(path).text)
    furnish(bucket, admin)
    said = text_of(visitor.get(path).text)
    assert "40,000,000 objects, 40 GB, of 40 exports stay there. Nothing is deleted." in said
    assert "Its credentials are deleted here. Revoke them" in said


def test_removing_names_the_schedules_and_counts_the_imports_that_use_it(
    visitor: Visitor, bucket: Storage, admin: Actor
) -> None:
    a_project("trial", actor=admin)
    tried = exports.dry_run("neuro/trial", to=bucket.label, actor=admin)
    nightly, weekly = (
        schedules.add(tried.id, "0 2 * * *", confirmed=True, label=label, actor=admin)
        for label in ("nightly", "weekly")
    )
    schedules.pause(weekly.id, actor=admin)
    params = {"storage": bucket.id, "of": bucket.label, "path": "neuro/trial", "prefix": "", "by": "headers"}
    with writing():
        job = jobs.create("import", actor=admin, params=params, what="research to neuro/trial")
        Job.update(state="done", done=7, ended=now()).where(Job.id == job.id).execute()

    page = visitor.get(f"/interfaces/storages/{bucket.id}/remove").text

    said = text_of(page)
    assert f"In use by 1 job. Cancel it or wait, then remove the storage: Dry run {tried.id}" in said
    assert "2 schedules to this storage stop:" in said
    assert "nightly : stops at its next run, in" in said
    assert "weekly : paused, and cannot be resumed" in said
    assert f'href="/exports/schedules/{nightly.id}"' in page
    assert "7 objects of 1 import from there stay here. It cannot be run again." in said
    shown = text_of(visitor.get(f"/interfaces/storages/{bucket.id}").text)
    assert "Schedules to this storage nightly On next in" in shown
    assert "Last exports All imports" in shown


def test_the_list_tells_what_each_holds_and_its_tests(visitor: Visitor, bucket: Storage, admin: Actor) -> None:
    furnish(bucket, admin)
    storages.record_test(bucket.id, state="ok", message="", create_only=True)
    page = text_of(visitor.get("/interfaces/storages/?sort=-tested").text)
    assert "research at s3.site.example:9000" in page
    assert "40,000,000 objects 40 GB" in page
    assert "next in" in page
    table = visitor.get("/interfaces/storages/?format=csv&q=research").data.decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(table))
    assert (row["Provider"], row["Place"]) == ("Amazon S3 and compatible", "research at s3.site.example:9000")
    assert (row["Exports"], row["Objects"], row["Bytes"]) == ("40", "40000000", "40000000000")
