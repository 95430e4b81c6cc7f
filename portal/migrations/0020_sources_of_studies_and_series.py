"""Columns for the file from which the row of a study or a series is taken, and for the next such file.

Where an object of the series was replaced or moved to the trash, the row is taken again; all others are from their
first object.
"""

from peewee import IntegerField
from playhouse.migrate import migrate

_TAKEN_FROM = {
    "series": (
        "UPDATE series SET source = (SELECT MIN(instance.file_id) FROM instance "
        "WHERE instance.series_id = series.id AND instance.state = 'current')"
    ),
    "study": "UPDATE study SET source = (SELECT MIN(series.source) FROM series WHERE series.study_id = study.id)",
}
_TO_BE_TAKEN = {
    "series": (
        "UPDATE series SET next_source = 0 WHERE n_instances > 0 AND ("
        "EXISTS (SELECT 1 FROM instance WHERE instance.series_id = series.id AND instance.state = 'superseded') "
        "OR acquisition_id IN (SELECT parent_id FROM file WHERE trash IS NOT NULL AND parent_type = 'acquisition'))"
    ),
    "study": (
        "UPDATE study SET next_source = 0 WHERE n_instances > 0 AND "
        "EXISTS (SELECT 1 FROM series WHERE series.study_id = study.id AND series.next_source = 0)"
    ),
}


def up(migrator, db):
    for table in ("series", "study"):
        for column in ("source", "next_source"):
            migrate(migrator.add_column(table, column, IntegerField(null=True)))
        db.execute_sql(_TAKEN_FROM[table])
        db.execute_sql(_TO_BE_TAKEN[table])
        db.execute_sql(
            f"CREATE INDEX {table}_next_source ON {table} (id) WHERE next_source IS NOT NULL AND n_instances > 0"
        )
