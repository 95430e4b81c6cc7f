"""What the three tabs of Interfaces are about, and the associations that peers have with us."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.models.base import JsonField, Owned, Table, UtcField, now
from portal.models.tree import Project


class Peer(Owned):
    label = CharField(unique=True)
    ae_title = CharField(index=True)
    our_ae_title = CharField(default="")
    """What we call ourselves towards it; empty: the site's title."""
    host = CharField(default="")
    port = IntegerField(null=True)
    addresses = JsonField(default=list)
    """CIDR ranges that it may call from; empty: any."""
    tls = BooleanField(default=False)
    services = JsonField(default=list)
    """Some of echo, store, find, move, get, commit."""
    store_to = ForeignKeyField(Project, null=True, backref="+", on_delete="SET NULL")
    store_to_id: int | None
    moves_to = JsonField(default=list)
    """Ids of peers it may name as move destination; `["any"]` for all. Itself is always among them."""
    limits = JsonField(default=dict)
    enabled = BooleanField(default=True)
    last_seen = UtcField(null=True, index=True)
    """When it called us last."""
    last_answered = UtcField(null=True, index=True)
    """When it took a call of ours last."""
    state = CharField(default="unknown")
    """unknown | ok | failed: how our last call to it ended."""
    since = UtcField(null=True)
    message = TextField(default="")


class Caller(Table):
    """A refused caller: one row for each title, address, called title and reason."""

    calling = CharField()
    called = CharField()
    address = CharField()
    reason = CharField()
    """unknown | called | address | grant | service | destination | disabled | limit."""
    message = TextField()
    first = UtcField(default=now)
    last = UtcField(default=now, index=True)
    count = IntegerField(default=1)
    decision = CharField(default="")
    """Empty, `ignored` or `registered`."""
    wanted = JsonField(default=list)
    """The services that it has asked for so far, by the SOP Classes that it proposed."""
    resolved = UtcField(null=True)
    """When it was let in after it had been refused; empty again once it is refused again."""

    class Meta:
        indexes = ((("calling", "called", "address", "reason"), True),)


class Association(Table):
    peer = ForeignKeyField(Peer, null=True, backref="associations", on_delete="SET NULL", index=False)
    peer_id: int | None
    role = CharField()
    """acceptor: it called us. requestor: we called it."""
    calling = CharField()
    called = CharField()
    address = CharField()
    tls = BooleanField(default=False)
    process = CharField(default="")
    """Host and process id of ours that holds it: after its death the row reads *lost*."""
    started = UtcField(default=now)
    seen = UtcField(default=now)
    ended = UtcField(null=True)
    outcome = CharField(default="open", index=True)
    """open | released | aborted | lost | rejected | failed."""
    message = TextField(default="")
    contexts = JsonField(default=list)
    counts = JsonField(default=dict)
    """Operation → {done, failed}; `store` also has each of stored, same, reencoded, alternate, conflict, refused."""
    failures = IntegerField(default=0)
    """Operations that failed, of all kinds: the sum in `counts`, where an index has it."""
    bytes = IntegerField(default=0)

    class Meta:
        # By hour, of one peer and of all, from the index alone.
        indexes = (
            (("peer", "started", "outcome", "failures"), False),
            (("started", "outcome", "failures"), False),
        )


class Storage(Owned):
    label = CharField(unique=True)
    provider = CharField()
    config = JsonField(default=dict)
    """path, bucket, endpoint, region, access_key …: what may be shown. Secrets are sealed in `secret`."""
    prefix = CharField(default="")
    prefix_locked = BooleanField(default=False)
    mode = CharField(default="export")
    visible = CharField(default="site")
    """site | group:CODE | project:CODE/LABEL."""
    threads = IntegerField(default=0)
    """Objects that it gets at once; 0 for as many as the site's settings say."""
    state = CharField(default="untested")
    """untested | ok | degraded | failed."""
    since = UtcField(null=True)
    message = TextField(default="")
    tested = UtcField(null=True)
    """When the last test ended."""
    create_only = BooleanField(null=True)
    """Whether the store itself refuses to write over an object, as the last test found."""
    mount = TextField(default="")
    """Where the disk of its folder was mounted, as a test found: without it nothing is read or written there."""
