"""What stands around every page: navigation, the site's name, and what waits for an admin."""

from typing import Any

from flask import Flask
from flask_login import current_user

from portal import activity, site

NAVIGATION = (
    ("data", "Data", "folders", "data.projects"),
    ("exports", "Exports", "package-export", "exports.index"),
    ("jobs", "Jobs", "list-check", "jobs.index"),
    ("activity", "Activity", "activity", "activity.associations_list"),
)
ADMIN = (
    ("interfaces", "Interfaces", "plug-connected", "devices.index"),
    ("users", "Users", "users", "users.index"),
    ("settings", "Settings", "settings", "settings.edit"),
)
FOR_ALL = ("data",)
"""Sections for those who are no site admin: what the others show is not yet cut to what one person may see."""

WAITING = {
    "conflicts": ("git-compare", "conflicts.index"),
    "storages": ("cloud-off", "storages.index"),
    "keys": ("key", "devices.index"),
}


def install(app: Flask) -> None:
    app.jinja_env.globals["current_user_is_admin"] = _is_admin

    @app.context_processor
    def around() -> dict[str, Any]:
        options = site.every()
        named = {"site_name": options["site.name"], "dimse_enabled": options["dimse.enabled"]}
        if not current_user.is_authenticated:
            return {**named, "user": None}
        sections = [entry for entry in NAVIGATION if _is_admin() or entry[0] in FOR_ALL]
        return {
            **named,
            "user": current_user.user,
            "sections": sections,
            "admin_sections": ADMIN if _is_admin() else (),
            "needs": [(need, *WAITING[need.kind]) for need in activity.needs()] if _is_admin() else (),
            "running_jobs": activity.running() if _is_admin() else 0,
        }


def _is_admin() -> bool:
    return bool(current_user.is_authenticated and current_user.user.is_admin)
