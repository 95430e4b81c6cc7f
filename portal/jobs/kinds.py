"""The kinds of jobs: one row gives all that differs between them."""

from dataclasses import dataclass
from typing import Literal

from portal.jobs.queue import Lane

ItemStates = tuple[tuple[str, str], ...]
"""States of items, each with what people read, in the order in which a list offers them."""

EXPORT_STATES: ItemStates = (
    ("failed", "Failed"),
    ("pending", "Waiting"),
    ("sent", "Sent"),
    ("verified", "Verified"),
    ("unmatched", "Skipped"),
)
SEND_STATES: ItemStates = (
    ("failed", "Not stored"),
    ("warned", "Stored with warning"),
    ("pending", "Waiting"),
    ("stored", "Stored"),
    ("unmatched", "Skipped"),
)
DRY_RUN_STATES: ItemStates = (
    ("pending", "To send"),
    ("other", "Different content"),
    ("same", "Already there"),
    ("collides", "Duplicate path"),
    ("failed", "Cannot be sent"),
    ("unmatched", "Skipped"),
)
VERIFICATION_STATES: ItemStates = (
    ("changed", "Changed"),
    ("missing", "Missing"),
    ("added", "Added"),
    ("failed", "Not readable"),
    ("pending", "Waiting"),
    ("ok", "Unchanged"),
)
FINDING_STATES: ItemStates = (
    ("audit", "Audit log"),
    ("archive", "Archive"),
    ("files", "Files"),
    ("index", "Index"),
    ("manifests", "Manifests"),
)
IMPORT_STATES: ItemStates = (
    ("failed", "Refused"),
    ("conflict", "In conflict"),
    ("alternate", "Other transfer syntax"),
    ("version", "New version"),
    ("stored", "Imported"),
    ("new", "To import"),
    ("same", "Already here"),
    ("pending", "Waiting"),
    ("sidecar", "Sidecar"),
    ("manifest", "Manifest"),
    ("unmatched", "Skipped"),
)
COMMITMENT_STATES: ItemStates = (
    ("failed", "Not committed"),
    ("missing", "No such instance"),
    ("misnamed", "Of another SOP Class"),
    ("unsupported", "SOP Class not supported"),
    ("duplicate", "Transaction UID in use"),
    ("busy", "Not readable now"),
    ("pending", "Waiting"),
    ("kept", "Kept"),
)
CONFIRMATION_STATES: ItemStates = (
    ("failed", "Not kept there"),
    ("unconfirmed", "Not confirmed"),
    ("pending", "Waiting"),
    ("kept", "Proved stored"),
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    label: str
    runner: str = ""
    """The function of `dimse_worker.jobs` that runs it; empty where the listener does, within an association."""
    lane: Lane = "long"
    """Whose workers run it."""
    max_seconds: int = -1
    """RQ stops a run after this; -1 for never."""
    attempts: int = 1
    """Runs without any progress after which the job has failed."""
    takes_turns: bool = False
    """Whether it may take long, and lets others of its lane that wait go first, now and then."""
    waits_out_outages: bool = False
    """Whether it waits for a storage or peer that is away: such runs are no attempts (`outages`)."""
    shares_storage: bool = False
    """Whether its runs work on several objects of a storage at once: runs at the same time share its threads."""
    family: Literal["export", "import", ""] = ""
    """Whose parameters it has, and whose pages show it."""
    is_dry_run: bool = False
    done_state: str = "verified"
    """The state of items that count as done; empty where it does not follow from the job's count."""
    item_states: ItemStates = EXPORT_STATES


KINDS: dict[str, Kind] = {
    "echo": Kind(label="Echo", runner="run_echo", lane="short", max_seconds=120),
    "storage_test": Kind(label="Storage test", runner="run_storage_test", lane="short", max_seconds=300),
    "export": Kind(
        label="Export",
        runner="run_export",
        attempts=8,
        waits_out_outages=True,
        shares_storage=True,
        family="export",
    ),
    "send": Kind(
        label="Send (C-STORE)",
        runner="run_send",
        attempts=8,
        waits_out_outages=True,
        family="export",
        done_state="stored",
        item_states=SEND_STATES,
    ),
    "dry_run": Kind(
        label="Dry run",
        runner="run_dry_run",
        attempts=8,
        family="export",
        is_dry_run=True,
        done_state="",
        item_states=DRY_RUN_STATES,
    ),
    "verification": Kind(
        label="Verification",
        runner="run_verification",
        attempts=8,
        waits_out_outages=True,
        shares_storage=True,
        done_state="ok",
        item_states=VERIFICATION_STATES,
    ),
    "site_verification": Kind(
        label="Site verification",
        runner="run_site_verification",
        attempts=8,
        takes_turns=True,
        done_state="",
        item_states=FINDING_STATES,
    ),
    "import": Kind(
        label="Import",
        runner="run_import",
        attempts=8,
        waits_out_outages=True,
        shares_storage=True,
        family="import",
        done_state="stored",
        item_states=IMPORT_STATES,
    ),
    "import_dry_run": Kind(
        label="Dry run of an import",
        runner="run_import_dry_run",
        attempts=8,
        shares_storage=True,
        family="import",
        is_dry_run=True,
        done_state="new",
        item_states=IMPORT_STATES,
    ),
    "commitment": Kind(
        label="Storage commitment",
        runner="run_commitment",
        lane="short",
        takes_turns=True,
        attempts=8,
        waits_out_outages=True,
        done_state="kept",
        item_states=COMMITMENT_STATES,
    ),
    "confirmation": Kind(
        label="Confirmation of a send",
        runner="run_confirmation",
        lane="short",
        attempts=8,
        waits_out_outages=True,
        done_state="kept",
        item_states=CONFIRMATION_STATES,
    ),
    "comparison": Kind(label="Comparison", runner="run_comparison", lane="short", takes_turns=True, attempts=3),
    "trash": Kind(label="Move to trash", runner="run_trash", lane="short", takes_turns=True, attempts=3),
    "restore": Kind(label="Restore", runner="run_restore", lane="short", takes_turns=True, attempts=3),
    "purge": Kind(label="Purge", runner="run_purge", lane="short", takes_turns=True, attempts=3),
    "move": Kind(label="Move (C-MOVE)"),
    "get": Kind(label="Get (C-GET)"),
}
"""By the name that a job's row has."""
RETRIEVAL_KINDS = tuple(name for name, kind in KINDS.items() if not kind.runner)
"""Started by peers; all other kinds are started by users."""
EXPORT_KINDS = tuple(name for name, kind in KINDS.items() if kind.family == "export" and not kind.is_dry_run)
IMPORT_KINDS = tuple(name for name, kind in KINDS.items() if kind.family == "import" and not kind.is_dry_run)
SHARING_KINDS = tuple(name for name, kind in KINDS.items() if kind.shares_storage)
