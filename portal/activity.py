"""What goes on: the figures of the first page and of the shell."""

from dataclasses import dataclass
from typing import Any

from portal import totals
from portal.models import Job
from portal.progress import ACTIVE


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first page: where peers reach us, and what is here."""

    dimse: dict[str, Any]
    held: totals.Totals


def running() -> int:
    """Jobs that run or are about to."""
    return int(Job.select().where(Job.state.in_(ACTIVE)).count())


def overview(options: dict[str, Any]) -> Overview:
    """Of a site with these options (`site.every`)."""
    return Overview(
        dimse={key: options[f"dimse.{key}"] for key in ("enabled", "ae_title", "host", "port")},
        held=totals.get(),
    )
