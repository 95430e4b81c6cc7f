"""Background work: jobs and their items."""

from collections.abc import Iterable
from typing import Any

from peewee import BlobField, BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.models.base import JsonField, Owned, Table, UtcField, database, now
from portal.models.interfaces import Association, Peer
from portal.models.tree import File


class Job(Owned):
    kind = CharField(index=True)
    runner = CharField(default="worker")
    """worker | listener (an incoming C-MOVE or C-GET)."""
    what = TextField(default="")
    """Its subject as text: "MRI/Brain to mirror-b"."""
    started_by = CharField(default="")
    """The name at that time of the user or peer that requested it."""
    params = JsonField(default=dict)
    state = CharField(default="waiting")
    """waiting | running | done | errors | failed | cancelling | cancelled."""
    due = UtcField(default=now)
    attempts = IntegerField(default=0)
    boot = CharField(default="")
    lease = IntegerField(null=True)
    """Until when the run that holds the row counts as alive, in milliseconds since that boot of the machine."""
    holder = CharField(default="")
    """The id of that run: no other run may write, nor this one once it has lost the lease."""
    started = UtcField(null=True)
    ended = UtcField(null=True)
    total = IntegerField(default=0)
    done = IntegerField(default=0)
    failed = IntegerField(default=0)
    bytes = IntegerField(default=0)
    message = TextField(default="")
    result = JsonField(default=dict)
    samples = JsonField(default=list)
    """Its progress over time: [seconds of work, bytes], at most `throughput.MAX_SAMPLES` of them."""
    storage = IntegerField(null=True)
    """The number of its storage, which is never reused."""
    items_kept = CharField(default="all")
    """all | dropping | some: whether the list of its items is complete, or was deleted by its age (`retention`)."""
    association = ForeignKeyField(Association, null=True, backref="+", on_delete="SET NULL")
    association_id: int | None
    parent = ForeignKeyField("self", null=True, backref="+", on_delete="SET NULL")
    parent_id: int | None

    class Meta:
        indexes = (
            (("state", "due"), False),
            (("kind", "state"), False),
            (("ended", "state"), False),
            (("storage", "kind", "ended"), False),
        )


class JobItem(Table):
    job = ForeignKeyField(Job, backref="items", on_delete="CASCADE")
    job_id: int
    file = ForeignKeyField(File, null=True, backref="+", on_delete="SET NULL")
    file_id: int | None
    key = TextField()
    size = IntegerField(default=0)
    digest = CharField(default="")
    state = CharField(default="pending")
    """pending | sent | verified | failed; of a dry run: pending | same | other | collides; of both: unmatched."""
    message = TextField(default="")
    permanent = BooleanField(default=False)
    attempts = IntegerField(default=0)
    """Failed attempts."""
    version = IntegerField(null=True)
    """Of an export: the version of the file."""
    member = CharField(null=True)
    """Of a send: the name of the object in its file, where that is a zip; of a commitment: the SOP Class."""

    class Meta:
        indexes = ((("job", "key"), False), (("job", "state"), False))

    @property
    def tries(self) -> int:
        """Attempts so far: the failed ones, and the one that succeeded."""
        return self.attempts + (self.state in self.SUCCEEDED)

    SUCCEEDED = ("sent", "verified", "stored", "warned", "ok", "kept", "alternate", "version", "conflict", "same")
    """States after an attempt without an error."""
    COLUMNS = ("job_id", "file_id", "key", "size", "digest", "state", "message", "permanent", "attempts")

    @classmethod
    def add(cls, rows: Iterable[tuple[Any, ...]], *more: str) -> None:
        """Insert many rows, each a tuple of COLUMNS and of `more`: a plan may have a million of them."""
        names = cls.COLUMNS + more
        marks = ", ".join([database.param] * len(names))
        sql = f"INSERT INTO {cls._meta.table_name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 (our own names)
        database.cursor().executemany(sql, rows)


class Commitment(Table):
    """One storage commitment transaction (PS3.4 J): its instances are the items of its job."""

    job = ForeignKeyField(Job, unique=True, backref="+", on_delete="CASCADE")
    job_id: int
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="SET NULL")
    peer_id: int | None
    role = CharField()
    """Our role. scp: the peer asks us. scu: we ask the peer."""
    transaction_uid = CharField()
    instances = TextField(default="")
    """A digest of the instances that are asked for, whatever their order; empty until all of them are written."""
    answered = UtcField(null=True)
    """When the report was acknowledged: by the peer, or by us."""

    class Meta:
        indexes = ((("transaction_uid", "peer", "role"), False),)


class Schedule(Owned):
    """An export that is repeated; each run is a separate job."""

    label = CharField()
    cron = CharField()
    """When, in UTC: minute, hour, day of the month, month, day of the week."""
    params = JsonField(default=dict)
    """Those of the repeated export, without those that apply to one run only."""
    state = CharField(default="on")
    """on | paused | stopped (automatically, for the reason in `message`)."""
    message = TextField(default="")
    due = UtcField(null=True)
    """The time of the next run; empty while it is not on."""
    confirmed = UtcField(default=now)
    confirmed_by = CharField()
    """The name of the user who authorised the disclosure."""

    class Meta:
        indexes = ((("state", "due"), False),)


class ScheduleRun(Table):
    """One time at which a schedule was due. The unique index keeps two workers from starting it twice."""

    schedule = ForeignKeyField(Schedule, backref="runs", on_delete="CASCADE", index=False)
    schedule_id: int
    due = UtcField()
    job = ForeignKeyField(Job, null=True, backref="+", on_delete="SET NULL")
    job_id: int | None
    message = TextField(default="")
    """Why no job was started."""

    class Meta:
        indexes = ((("schedule", "due"), True),)


class Sidecar(Table):
    """The small document beside an object: in an export its bytes, until all objects are copied; in an import what is
    known of the object before it is read."""

    job = ForeignKeyField(Job, backref="+", on_delete="CASCADE")
    job_id: int
    of = ForeignKeyField(JobItem, backref="+", on_delete="CASCADE")
    """The object's item."""
    of_id: int
    item = ForeignKeyField(JobItem, null=True, backref="+", on_delete="CASCADE")
    """The document's own item, where it has one."""
    item_id: int | None
    content = BlobField()
    """JSON, compressed by zlib."""
