"""The tables of the first release."""


def up(migrator, db):
    from portal.models import TABLES

    db.create_tables(TABLES)
