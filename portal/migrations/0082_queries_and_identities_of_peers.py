"""Columns for how the queries of a peer are read, and for the user identity that it has to send."""


def up(migrator, db):
    for column in ("queries", "identity"):
        db.execute_sql(f'ALTER TABLE "peer" ADD COLUMN "{column}" TEXT NOT NULL DEFAULT \'{{}}\'')
