"""Save and test: a storage is tried step by step, under a random name that nothing has, and each step is said."""

import contextlib
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from portal.errors import Missing, Outage, PortalError, Taken, Unreachable
from portal.jobs.runs import Run, RunEnd
from portal.models import Storage, now
from portal.storage import storages, unfinished_uploads
from portal.storage_drivers import store
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.store import StepWarning

TEST_OBJECT_SIZE = 64 * 1024
VALID_FOR = timedelta(minutes=5)
"""How long a test that went well holds for an export that begins."""


@dataclass(kw_only=True)
class Step:
    """`state` is off (not tried), run, ok, warn, bad or skip (not used)."""

    name: str
    state: str = "off"
    message: str = ""
    ms: int | None = None


class _Trial:
    """One climb: the object that is tried with, and the storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.content = os.urandom(TEST_OBJECT_SIZE)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.key = f"portico-test-{secrets.token_hex(8)}"
        self.destination = storages.open(storage)
        self.create_only: bool | None = None
        self.is_written = False

    def reading(self) -> list[store.NamedStep]:
        return [*self.destination.steps(), ("Listed", self.listed)]

    def writing(self) -> list[store.NamedStep]:
        return [
            ("Wrote a random name", self.wrote),
            ("Read back", self.read_back),
            ("Overwriting refused", self.kept),
            ("Deleted", self.deleted),
        ]

    def listed(self) -> str:
        count = sum(1 for _found in itertools.islice(self.destination.list(), 1000))
        return f"{'1,000 or more' if count == 1000 else count} objects lie there now."

    def wrote(self) -> str:
        if self.destination.stat(self.key) is not None:
            raise Taken(f"{self.key} is there already, though nobody can know that name. Test again.")
        self.is_written = True
        self.destination.put(self.key, [self.content], size=TEST_OBJECT_SIZE, digest=self.digest)
        return f"{TEST_OBJECT_SIZE // 1024} kB under the name {self.key}, which nothing had."

    def read_back(self) -> str:
        if self.destination.digest(self.key) != (TEST_OBJECT_SIZE, self.digest):
            raise PortalError("It gives back other bytes than were written. Do not use it.")
        return "The same bytes, by their SHA-256."

    def kept(self) -> str:
        self.create_only = self.destination.refuses(self.key, os.urandom(TEST_OBJECT_SIZE))
        if self.create_only:
            return "It refused to write over an object that is there."
        raise StepWarning(
            "It replaced an object under its name: of two writers at the same moment, the later one wins. Exports look "
            "before they write."
        )

    def deleted(self) -> str:
        try:
            self.destination.delete(self.key)
        except Missing:
            raise
        except PortalError as error:
            self.is_written = False
            raise StepWarning(f"It keeps what was written ({self.key} stays): {error.message}") from error
        self.is_written = False
        return "Nothing of the test is left."

    def clear(self) -> None:
        """Take the trial's object away, wherever the climb ended."""
        if self.is_written:
            with contextlib.suppress(PortalError):
                self.destination.delete(self.key)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    error: PortalError | None
    uploads: dict[str, int] = field(default_factory=dict)
    """Unfinished ones: see `leftovers.tidy`."""


def run_test(run: Run) -> RunEnd:
    """Try the storage of a job; the steps stand in the job's result as they go, the outcome on the storage."""
    steps: list[Step] = []
    outcome = _climb(storages.by_id(run.job.params["storage"]), steps, lambda: _report(run, steps))
    state = "failed" if _state(steps) == "failed" else "done"
    return RunEnd(state=state, message=_message(steps), result={"uploads": outcome.uploads})


def require_passed(run: Run, storage: Storage) -> None:
    """Try a storage that an export begins to write to, unless that was done just now. Raises what fails there.

    The steps stand in the export's result as `tested`, for the page of the storage.
    """
    if storage.state in ("ok", "degraded") and storage.tested > now() - VALID_FOR:
        return
    steps: list[Step] = []
    outcome = _climb(storage, steps, run.check)
    tested = {
        "at": now().isoformat(),
        "state": "failed" if outcome.error else "done",
        "message": _message(steps),
        "steps": [asdict(step) for step in steps],
        "uploads": outcome.uploads,
    }
    run.write(result={**run.job.result, "tested": tested})
    if outcome.error:
        raise Outage(outcome.error.message) if _is_away(outcome.error) else outcome.error


def require_reachable(destination: Destination) -> None:
    """Ask for a name that nothing has. Raises Away where not even that is answered: no object of a job is at fault.

    What will not pass is left to the job's own requests.
    """
    try:
        destination.stat(f"portico-test-{secrets.token_hex(8)}")
    except PortalError as error:
        if _is_away(error):
            raise Outage(error.message) from error


def _is_away(error: PortalError) -> bool:
    """Whether a storage that failed a test may pass it later without being changed."""
    return isinstance(error, Unreachable) and not error.permanent


def _climb(storage: Storage, steps: list[Step], report: Callable[[], None]) -> _Outcome:
    """Fill in the steps, and keep the outcome on the storage; `report` is called before and after each."""
    try:
        trial = _Trial(storage)
        attempts = trial.reading() + trial.writing()
    except PortalError as error:
        steps.append(Step(name="Settings", state="bad", message=error.message))
        report()
        storages.record_test(storage.id, state="failed", message=_message(steps))
        return _Outcome(error=error)
    steps += [Step(name=name) for name, _attempt in attempts]
    for step in steps[-len(trial.writing()) :] if storage.mode == "import" else ():
        step.state, step.message = "skip", "For import, reading is enough."
    try:
        failed = _take_each(steps, attempts, report)
        is_tidied = failed is None and storage.mode != "import"
        uploads = unfinished_uploads.abort_abandoned(storage, trial.destination) if is_tidied else {}
    finally:
        trial.clear()
    mount = trial.destination.mount or None
    kept = {"state": _state(steps), "message": _message(steps)}
    storages.record_test(storage.id, **kept, create_only=trial.create_only, mount=mount)
    return _Outcome(error=failed, uploads=uploads)


def _take_each(
    steps: list[Step], attempts: Sequence[store.NamedStep], report: Callable[[], None]
) -> PortalError | None:
    """Take the steps up to the first that fails, and return why."""
    for step, (_name, attempt) in zip(steps, attempts, strict=True):
        if step.state != "off":
            continue
        step.state = "run"
        report()
        error = _take(step, attempt)
        report()
        if error:
            return error
    return None


def _take(step: Step, attempt: Callable[[], str]) -> PortalError | None:
    began = time.monotonic()
    try:
        step.state, step.message = "ok", attempt()
    except StepWarning as remark:
        step.state, step.message = "warn", str(remark)
    except PortalError as error:
        step.state, step.message = "bad", error.message
        return error
    finally:
        step.ms = round((time.monotonic() - began) * 1000)
    return None


def _report(run: Run, steps: list[Step]) -> None:
    run.check()
    run.write(
        total=len(steps),
        done=sum(step.state in ("ok", "warn", "skip") for step in steps),
        failed=sum(step.state == "bad" for step in steps),
        result={"steps": [asdict(step) for step in steps]},
    )


def _state(steps: list[Step]) -> str:
    states = {step.state for step in steps}
    return "failed" if "bad" in states else "degraded" if "warn" in states else "ok"


def _message(steps: list[Step]) -> str:
    """The failure with the name of its step; else what was remarked."""
    for step in steps:
        if step.state == "bad":
            return f"{step.name}: {step.message}"
    return " ".join(step.message for step in steps if step.state == "warn") or "Every step of the test passed."
