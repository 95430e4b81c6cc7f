"""Fixtures that every test may use: a migrated site of its own in a folder of its own."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal import migrations, models, runtime, settings
from portal.provenance import Actor

os.environ["PORTAL_CHEAP_PASSWORDS"] = "1"


@pytest.fixture
def site_settings(tmp_path: Path) -> settings.Settings:
    """Settings of an empty site; nothing runs."""
    chosen = settings.load(tmp_path / "data", {"PORTAL_CHEAP_PASSWORDS": "1"})
    return replace(chosen, min_free=1)


@pytest.fixture
def site(site_settings: settings.Settings) -> Iterator[settings.Settings]:
    """A migrated, empty site, bound to this process, with a connection for the test's thread."""
    runtime.start(site_settings)
    migrations.apply(site_settings.run / "migrate.lock")
    with models.connection():
        yield site_settings
    runtime.archive().close()


@pytest.fixture
def admin() -> Actor:
    return Actor(type="user", id="1", name="admin@site.example", via="web", address="127.0.0.1", is_admin=True)
