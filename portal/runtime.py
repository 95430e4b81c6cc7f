"""What a process works with: its settings, archive, vault and queue, bound once at its start."""

import os
from dataclasses import dataclass
from functools import partial

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
    """Bind database, archive and queue to the settings; leaves no connection open. Once a process, before it forks.

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
    _running[:] = [
        _Runtime(
            settings=chosen,
            archive=Archive(chosen.archive, remote=_remote(chosen, bucket) if bucket else None),
            bucket=bucket,
            vault=secrets,
            redis=_redis(chosen),
        )
    ]


def current() -> settings.Settings:
    return _bound().settings


def archive() -> Archive:
    return _bound().archive


def bucket() -> Bucket | None:
    """Where closed segments lie; None where the whole archive is in the data folder."""
    return _bound().bucket


def secrets() -> vault.Vault:
    return _bound().vault


def redis() -> "Redis":
    return _bound().redis


def valkey_socket(chosen: settings.Settings) -> str:
    """Path of the private Valkey's socket: in the data folder, or in /tmp where that cannot be.

    A socket's path may have at most 107 bytes, and redis-py cannot read a CLIENT INFO in which it has a blank or a "=".
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
    """Blocks of the bucket are kept as long as the disk has twice its reserve: what comes in needs the room more."""

    def has_room() -> bool:
        disk = os.statvfs(chosen.archive)
        return disk.f_bavail * disk.f_frsize > 2 * chosen.min_free

    folder = chosen.data / "cache" / "segments"
    return Remote(bucket, BlockCache(folder, chosen.archive_cache // 2, block=BLOCK_SIZE, has_room=has_room))


def _redis(chosen: settings.Settings) -> "Redis":
    """One more try and no waiting: a request must not stand still because the queue is gone (jobs are rung again)."""
    once_more = Retry(NoBackoff(), 1)
    if chosen.redis_url:
        return Redis.from_url(chosen.redis_url, socket_connect_timeout=2, socket_timeout=5, retry=once_more)
    return Redis(unix_socket_path=valkey_socket(chosen), socket_connect_timeout=2, socket_timeout=5, retry=once_more)


def _bound() -> _Runtime:
    if not _running:
        raise RuntimeError("runtime.start() has not been called in this process")
    return _running[0]
