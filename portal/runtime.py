"""What every process uses: settings, database, archive, vault and queue, bound once at its start."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portal import models, settings, site_key, vault
from portal.archive import Archive, ballast
from portal.archive.block_cache import BlockCache
from portal.archive.bucket import Bucket
from portal.archive.remote import BLOCK_SIZE, Remote

connection = models.connection
held_open = models.held_open
is_busy, is_full, is_damaged = models.is_busy, models.is_full, models.is_damaged


@dataclass(frozen=True, kw_only=True)
class _Runtime:
    settings: settings.Settings
    archive: Archive
    bucket: Bucket | None
    vault: vault.Vault
    redis: "Redis"


_running: list[_Runtime] = []


def start(chosen: settings.Settings) -> None:
    """Bind database, archive and queue to the settings, once per process and before it forks; opens no connection.

    Raises Damaged for a database without its own key file. Only a site without a database gets a new key.
    """
    chosen.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    chosen.archive.mkdir(exist_ok=True, mode=0o700)
    chosen.run.mkdir(exist_ok=True, mode=0o700)
    make_room = partial(ballast.give_up_piece, chosen)
    make_room()
    models.bind(chosen.database, make_room=make_room)
    secrets = _open_vault(chosen)
    bucket = Bucket(chosen.bucket) if chosen.bucket else None
    # One retry and no waiting: a request must not stall because the queue is down, as jobs are enqueued again later.
    options: dict[str, Any] = {"socket_connect_timeout": 2, "socket_timeout": 5, "retry": Retry(NoBackoff(), 1)}
    redis_client = (
        Redis.from_url(chosen.redis_url, **options)
        if chosen.redis_url
        else Redis(unix_socket_path=valkey_socket(chosen), **options)
    )
    _running[:] = [
        _Runtime(
            settings=chosen,
            archive=Archive(chosen.archive, remote=_remote(chosen, bucket) if bucket else None),
            bucket=bucket,
            vault=secrets,
            redis=redis_client,
        )
    ]


def current() -> settings.Settings:
    return _bound().settings


def archive() -> Archive:
    return _bound().archive


def bucket() -> Bucket | None:
    """The bucket of closed segments; None if the whole archive is in the data folder."""
    return _bound().bucket


def secrets() -> vault.Vault:
    return _bound().vault


def redis() -> "Redis":
    return _bound().redis


def valkey_socket(chosen: settings.Settings) -> str:
    """The path of the private Valkey's socket: in the data folder, or in /tmp if that path does not work.

    The path of a socket has at most 107 bytes, and redis-py cannot parse a CLIENT INFO with a blank or a "=" in it.
    """
    path = str(chosen.run / "valkey.sock")
    if len(path.encode()) < 107 and "=" not in path and len(path.split()) == 1:
        return path
    return f"/tmp/portico-{vault.open_vault(chosen.site_key).digest('socket', path)[:16]}.sock"  # noqa: S108 (0600, in a name of our own)


def _open_vault(chosen: settings.Settings) -> vault.Vault:
    if not settings.has_content(chosen.database):
        vault.create_key_file(chosen.site_key)
        return vault.open_vault(chosen.site_key)
    site_key.require_file(chosen.site_key)
    opened = vault.open_vault(chosen.site_key)
    site_key.require(opened, chosen.site_key)
    return opened


def _remote(chosen: settings.Settings, bucket: Bucket) -> Remote:
    """Blocks of the bucket are cached while twice the reserve is free, as incoming objects need the space more."""

    def has_room() -> bool:
        disk = os.statvfs(chosen.archive)
        return disk.f_bavail * disk.f_frsize > 2 * chosen.min_free

    folder = chosen.data / "cache" / "segments"
    return Remote(bucket, BlockCache(folder, chosen.archive_cache // 2, block=BLOCK_SIZE, has_room=has_room))


def _bound() -> _Runtime:
    if not _running:
        raise RuntimeError("runtime.start() has not been called in this process")
    return _running[0]
