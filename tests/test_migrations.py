import threading

import pytest
from playhouse.schema_diff import diff_models

from portal import migrations, models, runtime, settings
from portal.errors import BadSetting

WRITTEN_OUT = {"study_name_groups", "study_patient_id_typed", "study_accession_typed", "subject_live_label"}
"""Indexes over an expression or with a collation, which Peewee cannot compare."""


@pytest.mark.usefixtures("site")
def test_the_tables_are_those_of_the_models() -> None:
    difference = diff_models(models.database.obj, list(models.TABLES))
    unknown = [found for found in difference.drop_indexes if found.name not in WRITTEN_OUT]
    assert not difference._replace(drop_indexes=unknown)
    assert migrations.pending() == []


def test_a_second_run_has_nothing_to_do(site: settings.Settings) -> None:
    assert migrations.apply(site.run / "migrate.lock") == []


def test_a_database_that_no_step_brings_up_to_date_is_refused(site: settings.Settings) -> None:
    models.database.execute_sql("ALTER TABLE storage DROP COLUMN threads")
    with pytest.raises(BadSetting, match=r"another version of Portico: storage has no threads\. Start"):
        migrations.apply(site.run / "migrate.lock")


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
    assert sorted(map(len, names)) == [0, 0, 0, 1]


@pytest.mark.usefixtures("site")
def test_numbers_of_rows_are_never_given_out_again() -> None:
    first = models.Group.create(code="a", label="A")
    first.delete_instance()
    assert models.Group.create(code="b", label="B").id > first.id
