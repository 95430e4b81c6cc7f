"""The frame of every page: navigation, the name of the site, and alerts for admins."""

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
MANAGER_SECTIONS = ("data", "exports")
"""Sections for users without the site admin role, and for admins of projects: the others are not filtered by access."""

ALERT_LISTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "disk": ("alert-triangle", "disk.index", {}),
    "verification": ("alert-triangle", "activity.verification", {}),
    "segments": ("alert-triangle", "disk.problems", {}),
    "records": ("alert-triangle", "disk.problems", {}),
    "archive": ("cloud-off", "disk.index", {}),
    "storages": ("cloud-off", "storages.index", {"only": "failed"}),
    "peers": ("plug-connected-x", "peers.index", {"only": "failed"}),
    "schedules": ("clock", "schedules.index", {"only": "stopped"}),
    "conflicts": ("git-compare", "conflicts.index", {"only": "open"}),
    "keys": ("key", "devices.index", {"sort": "expires"}),
    "certificate": ("key", "settings.certificate", {}),
}
"""Kind of an alert → its icon, and the endpoint and parameters of the list that it leads to."""
ALERT_PAGES = {
    "storages": ("storages.show", "storage_id"),
    "peers": ("peers.show", "peer_id"),
    "schedules": ("schedules.show", "schedule_id"),
    "keys": ("devices.show", "device_id"),
}
"""Kind of an alert that is about one row → the endpoint of its page, and the name of its parameter."""


def install(app: Flask) -> None:
    app.jinja_env.globals["current_user_is_admin"] = is_admin
    app.jinja_env.globals["current_scope"] = sign_in.current_scope

    @app.context_processor
    def frame() -> dict[str, Any]:
        options = sign_in.site_options()
        site = {
            "site_name": options["site.name"],
            "dimse_enabled": options["dimse.enabled"],
            "release": metadata.version("portico"),
        }
        if not current_user.is_authenticated:
            return {**site, "user": None}
        admin = is_admin()
        if current_user.user.must_change_password:
            return {**site, "user": current_user.user, "sections": (), "alerts": ()}
        return {
            **site,
            "user": current_user.user,
            "sections": [entry for entry in NAVIGATION if admin or entry[0] in _user_sections()],
            "admin_sections": ADMIN_NAVIGATION if admin else (),
            "alerts": [(alert, *_link(alert)) for alert in alerts.list_all()] if admin else (),
            "running_jobs": running_now.count_active_jobs() if admin else 0,
        }


def _user_sections() -> tuple[str, ...]:
    return MANAGER_SECTIONS if sign_in.current_scope().manages else USER_SECTIONS


def _link(alert: Alert) -> tuple[str, str]:
    """The icon of an alert, and the address of the row or list that it is about."""
    picture, endpoint, values = ALERT_LISTS[alert.kind]
    if alert.row is not None and alert.kind in ALERT_PAGES:
        endpoint, name = ALERT_PAGES[alert.kind]
        values = {name: alert.row}
    return picture, url_for(endpoint, **values)
