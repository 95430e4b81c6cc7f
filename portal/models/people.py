"""Users, devices, API keys, and grants."""

from peewee import SQL, BlobField, BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.models.base import JsonField, Owned, Table, UtcField, now
from portal.models.tree import Group, Project


class User(Table):
    email = CharField(unique=True, constraints=[SQL("COLLATE NOCASE")])
    password = TextField()
    is_admin = BooleanField(default=False)
    disabled = BooleanField(default=False)
    session_epoch = IntegerField(default=0)
    """Increased when the password changes or the account is disabled: older sessions end."""
    must_change_password = BooleanField(default=False)
    """The password was generated: until another one is chosen, no other page answers."""
    time_zone = CharField(default="")
    """For the times on this user's pages; empty: that of the site."""
    created = UtcField(default=now)
    last_seen = UtcField(null=True)


class Device(Owned):
    label = CharField()
    """Unique among the devices that are not removed."""
    type = CharField(null=True)
    version = CharField(null=True)
    interval = IntegerField(null=True)
    """Seconds between two reports; after a longer silence the device is *missing*."""
    errors = JsonField(default=list)
    info = JsonField(default=dict)
    sponsor = ForeignKeyField(User, null=True, backref="+")
    sponsor_id: int | None
    disabled = BooleanField(default=False)
    last_seen = UtcField(null=True)
    last_address = CharField(null=True)
    removed = UtcField(null=True)
    """A removed device keeps its row and its keys: what it uploaded still names it and its owner."""


Device.add_index(Device.index(Device.label, unique=True, name="device_label_in_use").where(Device.removed.is_null()))


class DeviceHour(Table):
    """The requests of one device in one hour, for thirty days (`device_usage`)."""

    device = ForeignKeyField(Device, backref="+", on_delete="CASCADE", index=False)
    device_id: int
    hour = UtcField(index=True)
    """Its beginning."""
    requests = IntegerField()
    failures = IntegerField()
    """Requests with a status of 400 or more."""
    bytes = IntegerField()
    """Bytes of the bodies of successful requests."""

    class Meta:
        indexes = ((("device", "hour"), True),)


class ApiKey(Table):
    """A key of a device or a user. Its row is never deleted: origins name it."""

    key_id = CharField(unique=True)
    owner_type = CharField()
    """device | user"""
    owner_id = IntegerField()
    name = CharField()
    hmac = CharField()
    expires = UtcField()
    revoked = UtcField(null=True)
    created = UtcField(default=now)
    created_by = CharField(default="")
    last_used = UtcField(null=True, index=True)
    last_address = CharField(null=True)
    last_program = CharField(null=True)
    read_only = BooleanField(default=False)
    addresses = JsonField(default=list)
    # No foreign keys: the key of a deleted project must reach nothing, where an emptied column would open it to all.
    group_id = IntegerField(null=True)
    """The group that it is limited to."""
    project_id = IntegerField(null=True)
    """The project that it is limited to."""
    replaces = CharField(null=True)
    """The id of the key that it was rotated from."""

    class Meta:
        indexes = ((("owner_type", "owner_id"), False), (("owner_type", "expires"), False))


class KeyUse(Table):
    """The requests with one key by one program at one address (`key_uses`)."""

    key = ForeignKeyField(ApiKey, backref="+", on_delete="CASCADE", index=False)
    key_id: int
    address = CharField()
    program = CharField()
    first = UtcField()
    last = UtcField(index=True)
    count = IntegerField()

    class Meta:
        indexes = ((("key", "address", "program"), True),)


class Grant(Table):
    """The access of a user or a peer. Without group and project: to the whole site."""

    who_type = CharField()
    who_id = IntegerField()
    group = ForeignKeyField(Group, null=True, backref="+", on_delete="CASCADE")
    group_id: int | None
    project = ForeignKeyField(Project, null=True, backref="+", on_delete="CASCADE")
    project_id: int | None
    role = CharField(default="ro")
    """ro: read. rw: read and store. admin: rw, and manage; users alone. store: store only; peers alone."""

    class Meta:
        table_name = "access_grant"
        indexes = ((("who_type", "who_id"), False),)


class Ticket(Table):
    """What lets whoever has it download one thing for some minutes, with the rights of the actor that asked for it."""

    digest = CharField(unique=True)
    kind = CharField()
    """file | containers."""
    target = JsonField()
    actor_type = CharField()
    actor_id = CharField()
    actor_via = CharField()
    """The key id, or the session of a browser (`users.session_id`): the ticket ends with it."""
    expires = UtcField(index=True)

    class Meta:
        indexes = ((("actor_type", "actor_id", "expires"), False),)


class Secret(Table):
    """A sealed credential of one row (`vault.Vault.seal`); write-only for every page."""

    row = CharField(unique=True)
    sealed = BlobField()
    set_at = UtcField(default=now)
    set_by = CharField(default="")
