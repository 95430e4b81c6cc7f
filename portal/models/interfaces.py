"""Peers, refused callers, associations, and external storages."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.models.base import JsonField, Owned, Table, UtcField, now
from portal.models.tree import Project


class Peer(Owned):
    label = CharField(unique=True)
    ae_title = CharField(index=True)
    our_ae_title = CharField(default="")
    """Our calling AE title for this peer; empty: that of the site."""
    host = CharField(default="")
    port = IntegerField(null=True)
    addresses = JsonField(default=list)
    """CIDR ranges from which it may call; empty: any."""
    tls = BooleanField(default=False)
    """TLS only: it may not call in clear text, and we call it over TLS."""
    tls_name = CharField(default="")
    """The name that its certificate must have when we call it; empty: its host."""
    tls_any_name = BooleanField(default=False)
    """Whether its certificate may have any name when we call it."""
    issuers = TextField(default="")
    """PEM: certificates of the CAs that vouch for it, and for no other peer."""
    pinned = TextField(default="")
    """PEM: its own certificate, if exactly that one is trusted."""
    services = JsonField(default=list)
    """Some of echo, store, find, move, get, commit."""
    confirm_sends = BooleanField(default=False)
    """Whether it is asked for storage commitment of what we have sent to it."""
    store_to = ForeignKeyField(Project, null=True, backref="+", on_delete="SET NULL")
    store_to_id: int | None
    moves_to = JsonField(default=list)
    """Ids of its move destinations; `["any"]` for all peers. The peer itself is always one."""
    limits = JsonField(default=dict)
    """`portal.peers.limits.PeerLimits`."""
    queries = JsonField(default=dict)
    """`portal.peers.query_settings.QuerySettings`."""
    identity = JsonField(default=dict)
    """`portal.peers.user_identity.IdentityRule`; its password is a hash."""
    enabled = BooleanField(default=True)
    last_seen = UtcField(null=True, index=True)
    """When it last called us."""
    last_answered = UtcField(null=True, index=True)
    """When it last accepted a call of ours."""
    state = CharField(default="unknown")
    """The result of our last call: unknown | ok | failed."""
    since = UtcField(null=True)
    message = TextField(default="")


class Caller(Table):
    """A refused caller: one row for each calling title, address, called title and reason."""

    calling = CharField()
    called = CharField()
    address = CharField()
    reason = CharField()
    """unknown | called | address | grant | service | destination | disabled | limit | clear | certificate |
    handshake | identity."""
    message = TextField()
    first = UtcField(default=now)
    last = UtcField(default=now, index=True)
    count = IntegerField(default=1)
    decision = CharField(default="")
    """Empty, `ignored` or `registered`."""
    wanted = JsonField(default=list)
    """The services that it has requested so far, by the SOP Classes of its proposals."""
    resolved = UtcField(null=True)
    """When it was accepted after a refusal; empty again after the next refusal."""

    class Meta:
        indexes = ((("calling", "called", "address", "reason"), True),)


class Association(Table):
    peer = ForeignKeyField(Peer, null=True, backref="associations", on_delete="SET NULL", index=False)
    peer_id: int | None
    role = CharField()
    """Our role. acceptor: it called us. requestor: we called it."""
    calling = CharField()
    called = CharField()
    address = CharField()
    tls = BooleanField(default=False)
    tls_version = CharField(default="")
    """Such as TLSv1.3; empty in clear text."""
    process = CharField(default="")
    """Host and id of our process: when that has died, the association is *lost*."""
    started = UtcField(default=now)
    seen = UtcField(default=now)
    ended = UtcField(null=True)
    outcome = CharField(default="open", index=True)
    """open | released | aborted | lost | rejected | failed."""
    message = TextField(default="")
    contexts = JsonField(default=list)
    counts = JsonField(default=dict)
    """Operation → {done, failed}; `store` also has stored, same, reencoded, alternate, conflict, refused."""
    failures = IntegerField(default=0)
    """Failed operations of all kinds: the sum of those in `counts`, for an index."""
    bytes = IntegerField(default=0)

    class Meta:
        # Covering indexes for the counts by hour, of one peer and of all.
        indexes = (
            (("peer", "started", "outcome", "failures"), False),
            (("started", "outcome", "failures"), False),
        )


class Storage(Owned):
    label = CharField(unique=True)
    provider = CharField()
    config = JsonField(default=dict)
    """path, bucket, endpoint, region, access_key …: what may be displayed. Secrets are sealed in `secret`."""
    prefix = CharField(default="")
    prefix_locked = BooleanField(default=False)
    mode = CharField(default="export")
    visible = CharField(default="site")
    """site | group:CODE | project:CODE/LABEL."""
    threads = IntegerField(default=0)
    """Concurrent transfers; 0 for the number in the site's settings."""
    state = CharField(default="untested")
    """untested | ok | degraded | failed."""
    since = UtcField(null=True)
    message = TextField(default="")
    tested = UtcField(null=True)
    """When the last test ended."""
    create_only = BooleanField(null=True)
    """Whether, by the last test, the store itself refuses to overwrite an object."""
    mount = TextField(default="")
    """The mount point of its folder's disk, found by a test: while it is missing, nothing is read or written."""


class RoutingRule(Owned):
    """Into which project objects go that no called AE title, known study or peer's setting places."""

    position = IntegerField(index=True)
    """Rules are asked in this order; numbers may repeat and have gaps."""
    enabled = BooleanField(default=True)
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="CASCADE")
    """The peer that sends; None for any. The rule of a removed peer goes with it: it must not match all others."""
    peer_id: int | None
    called = CharField(default="")
    """The called AE title, exactly; empty for any. So for each of the following, which may have wild cards."""
    modality = CharField(default="")
    description = CharField(default="")
    """Of the study."""
    body_part = CharField(default="")
    patient_id = CharField(default="")
    project = ForeignKeyField(Project, null=True, backref="+", on_delete="CASCADE")
    project_id: int | None
    """The target; None where `tag` names it."""
    tag = CharField(default="")
    """The element, as 8 hexadecimal digits, whose value is GROUP/PROJECT."""
