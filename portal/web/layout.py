"""What stands around every page: navigation, the site's name, and what waits for an admin."""

from importlib import metadata
from typing import Any

from flask import Flask, url_for
from flask_login import current_user

from portal.dashboard import alerts, running_now
from portal.dashboard.alerts import Alert
from portal.web import sign_in
from portal.web.sign_in import is_admin

NAVIGATION = (
    ("data", "Data", "folders", "data.projects"),
    ("exports", "Exports", "package-export", "exports.index"),
    ("jobs", "Jobs", "list-check", "jobs.index"),
    ("activity", "Activity", "activity", "activity.associations_list"),
)
ADMIN_NAVIGATION = (
    ("interfaces", "Interfaces", "plug-connected", "devices.index"),
    ("users", "Users", "users", "users.index"),
    ("settings", "Settings", "settings", "settings.edit"),
)
USER_SECTIONS = ("data",)
"""Sections for those who are no site admin: what the others show is not yet cut to what one person may see."""

ALERT_LISTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "disk": ("alert-triangle", "disk.index", {}),
    "segments": ("alert-triangle", "disk.problems", {}),
    "records": ("alert-triangle", "disk.problems", {}),
    "archive": ("cloud-off", "disk.index", {}),
    "storages": ("cloud-off", "storages.index", {"only": "failed"}),
    "peers": ("plug-connected-x", "peers.index", {"only": "failed"}),
    "schedules": ("clock", "schedules.index", {"only": "stopped"}),
    "conflicts": ("git-compare", "conflicts.index", {"only": "open"}),
    "keys": ("key", "devices.index", {"sort": "expires"}),
}
"""Kind of a need → its picture, and the list where it is looked after."""
ALERT_PAGES = {
    "storages": ("storages.show", "storage_id"),
    "peers": ("peers.show", "peer_id"),
    "schedules": ("schedules.show", "schedule_id"),
    "keys": ("devices.show", "device_id"),
}
"""The page to go to where it is one thing."""


def install(app: Flask) -> None:
    app.jinja_env.globals["current_user_is_admin"] = is_admin

    @app.context_processor
    def around() -> dict[str, Any]:
        options = sign_in.options()
        named = {
            "site_name": options["site.name"],
            "dimse_enabled": options["dimse.enabled"],
            "release": metadata.version("portico"),
        }
        if not current_user.is_authenticated:
            return {**named, "user": None}
        admin = is_admin()
        return {
            **named,
            "user": current_user.user,
            "sections": [entry for entry in NAVIGATION if admin or entry[0] in USER_SECTIONS],
            "admin_sections": ADMIN_NAVIGATION if admin else (),
            "needs": [_led(need) for need in alerts.list_all()] if admin else (),
            "running_jobs": running_now.count_active_jobs() if admin else 0,
        }


def _led(need: Alert) -> tuple[Alert, str, str]:
    """A need with its picture and the address where it is looked after."""
    picture, endpoint, values = ALERT_LISTS[need.kind]
    if need.row is not None and need.kind in ALERT_PAGES:
        endpoint, name = ALERT_PAGES[need.kind]
        values = {name: need.row}
    return need, picture, url_for(endpoint, **values)
