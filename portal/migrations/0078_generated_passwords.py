"""Whether a user's password was generated, so that another must be chosen at the next sign-in."""


def up(migrator, db):
    db.execute_sql('ALTER TABLE "user" ADD COLUMN "must_change_password" INTEGER NOT NULL DEFAULT 0')
