"""What a process needs to start, from the environment; what an admin changes lives in the database (`site`)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from portal.errors import BadSetting

GIGABYTE = 1_000_000_000
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things lie and what they may take. All paths are absolute."""

    data: Path
    redis_url: str | None
    storage_roots: tuple[Path, ...]
    min_free: int
    """Bytes that stay free on the archive's disk (design decision 10)."""
    max_upload: int
    """Bytes of the largest upload by REST."""
    cheap_passwords: bool
    """Least argon2 cost: for tests only."""
    cookie_secure: bool
    trusted_proxies: tuple[Network, ...]
    """Whose X-Forwarded-For and X-Forwarded-Proto are believed; empty: nobody's."""

    @property
    def database(self) -> Path:
        return self.data / "portal.db"

    @property
    def archive(self) -> Path:
        return self.data / "archive"

    @property
    def site_key(self) -> Path:
        return self.data / "keys" / "site.key"

    @property
    def run(self) -> Path:
        """Sockets and locks of the processes that run now."""
        return self.data / "run"


def load(data: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of this process. Raises BadSetting with the variable's name where a value cannot be used."""
    folder = (data or Path(value(environ, "PORTAL_DATA") or "data")).expanduser().resolve()
    return Settings(
        data=folder,
        redis_url=value(environ, "PORTAL_REDIS_URL"),
        storage_roots=_roots(value(environ, "PORTAL_STORAGE_ROOTS"), folder),
        min_free=_size(environ, "PORTAL_MIN_FREE", default=0) or _default_min_free(folder),
        max_upload=_size(environ, "PORTAL_MAX_UPLOAD", default=64 * GIGABYTE),
        cheap_passwords=_flag(environ, "PORTAL_CHEAP_PASSWORDS"),
        cookie_secure=_flag(environ, "PORTAL_COOKIE_SECURE"),
        trusted_proxies=_networks(environ, "PORTAL_TRUSTED_PROXIES"),
    )


def value(environ: Mapping[str, str], name: str) -> str | None:
    """The variable's text; NAME_FILE beats NAME, so that a secret need not stand in the environment."""
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise BadSetting(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from error
    return environ.get(name) or None


def _roots(text: str | None, data: Path) -> tuple[Path, ...]:
    if text is None:
        return (data / "storage",)
    roots = tuple(Path(part) for part in text.split(os.pathsep) if part)
    for root in roots:
        if not root.is_absolute():
            raise BadSetting(f"PORTAL_STORAGE_ROOTS names {root}, which is not an absolute path.")
    return tuple(root.resolve() for root in roots)


def _size(environ: Mapping[str, str], name: str, *, default: int) -> int:
    text = value(environ, name)
    if text is None:
        return default
    if not text.isdecimal():
        raise BadSetting(f"{name} is {text!r}; it must be a number of bytes.")
    return int(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = value(environ, name)
    if text not in (None, "0", "1"):
        raise BadSetting(f"{name} is {text!r}; it must be 0 or 1.")
    return text == "1"


def _networks(environ: Mapping[str, str], name: str) -> tuple[Network, ...]:
    """Addresses and networks, with commas between them."""
    parts = [part.strip() for part in (value(environ, name) or "").split(",")]
    try:
        return tuple(ip_network(part) for part in parts if part)
    except ValueError as error:
        raise BadSetting(f"{name} must be addresses or networks such as 127.0.0.1 or 10.0.0.0/24: {error}.") from error


def _default_min_free(folder: Path) -> int:
    """5 % of the disk, at most 10 GB."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(place)
    return min(disk.f_frsize * disk.f_blocks // 20, 10 * GIGABYTE)
