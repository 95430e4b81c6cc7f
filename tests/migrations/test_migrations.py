import hashlib
import tarfile
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from playhouse.migrate import SqliteMigrator
from playhouse.schema_diff import diff_models

from portal import migrations, models, runtime, settings
from portal.access import audit, audit_chain
from portal.devices import api_keys
from portal.errors import BadSetting
from portal.ingest import conflicts
from portal.ingest.index import IN_TWO_PLACES

WRITTEN_OUT = {"study_name_groups", "study_patient_id_typed", "study_accession_typed", "subject_live_label"}
"""Indexes over an expression or with a collation, which Peewee cannot compare."""
FIRST_RELEASE = Path(__file__).parents[1] / "releases" / "first.tar.gz"
"""The data folder of a small site, as the first release left it: three studies, a conflict, versions, an export."""


@pytest.fixture
def first_release(site_settings: settings.Settings) -> Iterator[settings.Settings]:
    """That folder, brought up to date, with a connection for the test's thread."""
    site_settings.data.mkdir(mode=0o700)
    with tarfile.open(FIRST_RELEASE) as packed:
        packed.extractall(site_settings.data, filter="data")
    runtime.start(site_settings)
    migrations.apply(site_settings.run / "migrate.lock")
    with models.connection():
        yield site_settings
    runtime.archive().close()


def assert_tables_are_those_of_the_models() -> None:
    difference = diff_models(models.database.obj, list(models.TABLES))
    unknown = [found for found in difference.drop_indexes if found.name not in WRITTEN_OUT]
    assert not difference._replace(drop_indexes=unknown)
    assert migrations.pending() == []


@pytest.mark.usefixtures("site")
def test_the_tables_are_those_of_the_models() -> None:
    assert_tables_are_those_of_the_models()


@pytest.mark.usefixtures("first_release")
def test_a_database_of_the_first_release_gets_the_tables_of_the_models() -> None:
    assert_tables_are_those_of_the_models()


@pytest.mark.usefixtures("first_release")
@pytest.mark.parametrize(
    ("step", "table", "column", "old", "new"),
    [
        ("0060_messages", "job", "result", '{"tries": [{"sentence": "Full."}]}', '{"tries": [{"message": "Full."}]}'),
        ("0061_kind_of_trash_jobs", "job", "kind", "throw", "trash"),
        (
            "0062_reason_of_a_second_place",
            "instance",
            "reason",
            "The same object stands elsewhere in this project too: peers see it once.",
            IN_TWO_PLACES,
        ),
    ],
)
def test_what_an_earlier_release_wrote_into_rows_is_in_the_words_of_this_one(
    step: str, table: str, column: str, old: str, new: str
) -> None:
    database = models.database.obj
    database.execute_sql(f"UPDATE {table} SET {column} = ?", (old,))
    import_module(f"portal.migrations.{step}").up(SqliteMigrator(database), database)
    assert set(database.execute_sql(f"SELECT {column} FROM {table}")) == {(new,)}


@pytest.mark.usefixtures("first_release")
def test_a_site_of_the_first_release_keeps_its_rows_and_bytes() -> None:
    shown = models.Instance.select().where(models.Instance.state == models.CURRENT)
    assert {row.series.study.patient_id for row in shown} == {"1CT1", "4MR1", "id00001"}
    assert [found.kind for found in conflicts.list_newest()] == ["patient"]
    for file in models.File.select():
        with runtime.archive().open(file.blob.segment, file.blob.offset, file.blob.size) as content:
            assert hashlib.sha256(content.read()).hexdigest() == file.blob.digest
    device = models.Device.get(models.Device.label == "Connector 1")
    assert [key.name for key in api_keys.for_owner(device)] == ["first"]


@pytest.mark.usefixtures("first_release")
def test_the_audit_log_of_the_first_release_is_kept_and_verified() -> None:
    audit.begin_key(runtime.secrets())
    newest = models.Audit.select().order_by(models.Audit.id.desc()).first()
    assert (newest.action, newest.detail["entries_before"] > 10) == ("audit:key_began", True)
    assert list(audit_chain.verify()) == []


def test_a_second_run_has_nothing_to_do(site: settings.Settings) -> None:
    assert migrations.apply(site.run / "migrate.lock") == []


def test_a_database_that_no_step_brings_up_to_date_is_refused(site: settings.Settings) -> None:
    models.database.execute_sql("ALTER TABLE storage DROP COLUMN threads")
    with pytest.raises(BadSetting, match=r"another version of Portico: storage has no threads\. Start"):
        migrations.apply(site.run / "migrate.lock")


def test_a_database_of_a_newer_release_is_refused_and_not_changed(site: settings.Settings) -> None:
    newer = "INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2030-01-01')"
    models.database.execute_sql(newer)
    models.database.execute_sql("DELETE FROM schema_migration WHERE name = '0001_first'")
    before = "\n".join(models.database.connection().iterdump())
    with pytest.raises(BadSetting, match="newer release of Portico: this one does not know its step 9999_later"):
        migrations.apply(site.run / "migrate.lock")
    with pytest.raises(BadSetting, match="Nothing was changed"):
        migrations.pending()
    assert "\n".join(models.database.connection().iterdump()) == before


def test_two_processes_that_migrate_at_once_agree(site_settings: settings.Settings) -> None:
    runtime.start(site_settings)
    names: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: names.append(migrations.apply(site_settings.run / "lock"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, names)) == [False, False, False, True]


@pytest.mark.usefixtures("site")
def test_numbers_of_rows_are_never_given_out_again() -> None:
    first = models.Group.create(code="a", label="A")
    first.delete_instance()
    assert models.Group.create(code="b", label="B").id > first.id
