"""Fixtures that every test may use: a migrated site of its own in a folder of its own."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from werkzeug.routing import Rule

from portal import migrations, models, runtime, settings, vault
from portal.access.actors import Actor

os.environ["PORTAL_CHEAP_PASSWORDS"] = "1"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture
def site_settings(tmp_path: Path) -> settings.Settings:
    """Settings of an empty site; nothing runs."""
    chosen = settings.load(tmp_path / "data", {"PORTAL_CHEAP_PASSWORDS": "1"})
    return replace(chosen, min_free=1)


class _Address(Rule):
    """A rule whose code that builds addresses is compiled once a process; it knows its rule by `self` alone."""

    _built: ClassVar[dict[tuple[Any, ...], Any]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        key = (self.rule, self.subdomain, self.host, str(self.defaults), str(self._trace), append_unknown)
        if key not in self._built:
            self._built[key] = super()._compile_builder(append_unknown)
        return self._built[key]


@pytest.fixture(scope="session", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each test's application has templates and addresses of its own, the same each time: they are compiled once."""
    Flask.jinja_options["bytecode_cache"] = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    Flask.url_rule_class = _Address


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an empty site: making its tables takes longer than most tests do."""
    chosen = settings.load(tmp_path_factory.mktemp("empty") / "data")
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    runtime.archive().close()
    return chosen.database


@pytest.fixture
def site(site_settings: settings.Settings, empty_database: Path) -> Iterator[settings.Settings]:
    """A migrated, empty site, bound to this process, with a connection for the test's thread."""
    site_settings.data.mkdir(mode=0o700)
    shutil.copy(empty_database, site_settings.database)
    vault.create_key_file(site_settings.site_key)
    runtime.start(site_settings)
    migrations.apply(site_settings.run / "migrate.lock")
    with models.connection():
        yield site_settings
    runtime.archive().close()


@pytest.fixture
def make_site(
    site: settings.Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Path], settings.Settings]]:
    """Makes another empty site with a copy of an archive, and binds this process to it."""

    def make(archive: Path) -> settings.Settings:
        models.database.close()
        fresh = replace(site, data=tmp_path_factory.mktemp("fresh"))
        shutil.copytree(archive, fresh.archive)
        runtime.start(fresh)
        migrations.apply(fresh.run / "migrate.lock")
        models.database.connect()
        return fresh

    yield make
    models.database.close()


@pytest.fixture
def admin() -> Actor:
    return Actor(type="user", id="1", name="admin@site.example", via="web", address="127.0.0.1", is_admin=True)
