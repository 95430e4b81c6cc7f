"""The figures of Home and of the page layout."""

from dataclasses import dataclass
from typing import Any

from portal.dashboard import overview as dashboard_overview
from portal.jobs.progress import ACTIVE_STATES
from portal.models import Job


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The head of Home: the address of the DIMSE service, and the totals."""

    dimse: dict[str, Any]
    held: dashboard_overview.Totals


def count_active_jobs() -> int:
    """The number of jobs that have not ended."""
    return int(Job.select().where(Job.state.in_(ACTIVE_STATES)).count())


def overview(options: dict[str, Any]) -> Overview:
    """Of a site with these options (`site_settings.get_all`)."""
    return Overview(
        dimse={key: options[f"dimse.{key}"] for key in ("enabled", "ae_title", "host", "port", "tls_port")},
        held=dashboard_overview.get(),
    )
