"""The list of external storages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import fn

from portal.listing import LongList, ignoring_case
from portal.models import Storage
from portal.storage import health, history, storages


@dataclass(frozen=True, kw_only=True)
class StorageRow:
    """A storage with the totals of its exports, and when the next test begins."""

    view: dict[str, Any]
    holds: history.JobTotals
    next_test: datetime | None


def _storage_rows(rows: Sequence[Storage]) -> list[StorageRow]:
    totals = history.job_totals([row.id for row in rows])
    return [
        StorageRow(
            view=storages.view(row), holds=totals.get(row.id, history.NO_TOTALS), next_test=health.next_test(row)
        )
        for row in rows
    ]


STORAGES = LongList(
    table=Storage,
    rows=Storage.select,
    views=_storage_rows,
    state=lambda: Storage.state,
    searched=(
        *(Storage.label, Storage.prefix),
        *(
            fn.json_extract(Storage.config, f"$.{name}")
            for name in ("path", "bucket", "account", "container", "endpoint")
        ),
    ),
    sorts={
        "label": lambda: ignoring_case(Storage.label),
        "status": lambda: Storage.state,
        "provider": lambda: Storage.provider,
        "mode": lambda: Storage.mode,
        "tested": lambda: Storage.tested,
    },
    usual="label",
    heads=(
        "Label",
        "Provider",
        "Place",
        "Prefix",
        "Used for",
        "Visible to",
        "Status",
        "Since",
        "What happened",
        "Last test",
        "Next test",
        "Enforces create-only",
        "Exports",
        "Objects",
        "Bytes",
        "Added",
    ),
    cells=lambda row: (
        *(row.view[name] for name in ("label", "provider_label", "place", "prefix", "mode", "visible", "state")),
        *(row.view["since"], row.view["message"], row.view["tested"], row.next_test, row.view["create_only"]),
        *(row.holds.exports, row.holds.objects, row.holds.size, row.view["created"]),
    ),
)
