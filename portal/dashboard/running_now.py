"""What goes on: the figures of the first page and of the shell."""

from dataclasses import dataclass
from typing import Any

from portal.dashboard import overview as dashboard_overview
from portal.jobs.progress import ACTIVE_STATES
from portal.models import Job


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first page: where peers reach us, and what is here."""

    dimse: dict[str, Any]
    held: dashboard_overview.Totals


def count_active_jobs() -> int:
    """Jobs that run or are about to."""
    return int(Job.select().where(Job.state.in_(ACTIVE_STATES)).count())


def overview(options: dict[str, Any]) -> Overview:
    """Of a site with these options (`site.every`)."""
    return Overview(
        dimse={key: options[f"dimse.{key}"] for key in ("enabled", "ae_title", "host", "port")},
        held=dashboard_overview.get(),
    )
