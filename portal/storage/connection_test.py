"""Save and test: the steps that try a storage, with a test object under a random name."""

import contextlib
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from portal.errors import Missing, Outage, PortalError, Taken, Unreachable
from portal.jobs.records import JobParams
from portal.jobs.runs import Run, RunEnd
from portal.models import Storage, now
from portal.storage import step_results, storages, unfinished_uploads
from portal.storage.step_results import ExportTest, Step
from portal.storage_drivers import store
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.store import StepWarning

TEST_OBJECT_SIZE = 64 * 1024
VALID_FOR = timedelta(minutes=5)
"""How long an export that begins relies on a test that succeeded."""


class _TestObject:
    """The object that one test writes to a storage, and the steps around it."""

    def __init__(self, storage: Storage) -> None:
        self.content = os.urandom(TEST_OBJECT_SIZE)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.key = f"portico-test-{secrets.token_hex(8)}"
        self.destination = storages.open(storage)
        self.create_only: bool | None = None
        self.is_written = False

    def read_steps(self) -> list[store.NamedStep]:
        return [*self.destination.steps(), ("Listed", self.count_objects)]

    def write_steps(self) -> list[store.NamedStep]:
        return [
            ("Test object written", self.write),
            ("Read back", self.read_back),
            ("Overwriting refused", self.try_overwrite),
            ("Deleted", self.delete),
        ]

    def count_objects(self) -> str:
        count = sum(1 for _object in itertools.islice(self.destination.list(), 1000))
        return f"Objects there now: {'1,000 or more' if count == 1000 else count}."

    def write(self) -> str:
        if self.destination.stat(self.key) is not None:
            raise Taken(f"An object with the random name {self.key} already exists. Test again.")
        self.is_written = True
        self.destination.put(self.key, [self.content], size=TEST_OBJECT_SIZE, digest=self.digest)
        return f"{TEST_OBJECT_SIZE // 1024} kB under the new name {self.key}."

    def read_back(self) -> str:
        if self.destination.digest(self.key) != (TEST_OBJECT_SIZE, self.digest):
            raise PortalError("The storage returned different bytes than were written. Do not use it.")
        return "The same bytes, by their SHA-256."

    def try_overwrite(self) -> str:
        self.create_only = self.destination.refuses_overwrite(self.key, os.urandom(TEST_OBJECT_SIZE))
        if self.create_only:
            return "The storage refused to overwrite an existing object."
        raise StepWarning(
            "The storage replaced an existing object: of two writers at the same moment, the later one wins. Exports "
            "look before they write."
        )

    def delete(self) -> str:
        try:
            self.destination.delete(self.key)
        except Missing:
            raise
        except PortalError as error:
            self.is_written = False
            raise StepWarning(f"The test object {self.key} cannot be deleted and stays: {error.message}") from error
        self.is_written = False
        return "The test object was deleted."

    def clean_up(self) -> None:
        """Delete the test object, wherever the test ended."""
        if self.is_written:
            with contextlib.suppress(PortalError):
                self.destination.delete(self.key)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    error: PortalError | None
    uploads: dict[str, int] = field(default_factory=dict)
    """Unfinished uploads: see `unfinished_uploads.abort_abandoned`."""


def run_test(run: Run) -> RunEnd:
    """Test the storage of a job; the job's result has the steps as they go, the storage the outcome."""
    steps: list[Step] = []

    def report() -> None:
        run.check()
        run.write(
            total=len(steps),
            done=sum(step.state in ("ok", "warn", "skip") for step in steps),
            failed=sum(step.state == "bad" for step in steps),
            result=step_results.dump_steps(steps),
        )

    outcome = _test(storages.by_id(JobParams.load(run.job.params).storage_id), steps, report)
    state = "failed" if _state(steps) == "failed" else "done"
    return RunEnd(state=state, message=_message(steps), result={"uploads": outcome.uploads})


def require_passed(run: Run) -> None:
    """Test the storage that an export begins to write to, unless that was done just now. Raises what fails.

    The export's result has the steps as `tested`, for the page of the storage.
    """
    storage = storages.by_id(JobParams.load(run.job.params).storage_id)
    if storage.state in ("ok", "degraded") and storage.tested > now() - VALID_FOR:
        return
    steps: list[Step] = []
    outcome = _test(storage, steps, run.check)
    test = ExportTest(
        at=now().isoformat(),
        state="failed" if outcome.error else "done",
        message=_message(steps),
        steps=steps,
        uploads=outcome.uploads,
    )
    run.write(result={**run.job.result, **test.dump()})
    if outcome.error:
        raise Outage(outcome.error.message) if _is_temporary(outcome.error) else outcome.error


def require_reachable(destination: Destination) -> None:
    """Look up a random name. Raises Outage where even that fails for now: no object of a job is at fault then.

    Permanent errors are left to the job's own requests.
    """
    try:
        destination.stat(f"portico-test-{secrets.token_hex(8)}")
    except PortalError as error:
        if _is_temporary(error):
            raise Outage(error.message) from error


def _is_temporary(error: PortalError) -> bool:
    """Whether a storage that failed a test may pass it later without being changed."""
    return isinstance(error, Unreachable) and not error.permanent


def _test(storage: Storage, steps: list[Step], report: Callable[[], None]) -> _Outcome:
    """Fill in the steps, and record the outcome on the storage; `report` is called before and after each step."""
    try:
        test_object = _TestObject(storage)
        named_steps = test_object.read_steps() + test_object.write_steps()
    except PortalError as error:
        steps.append(Step(name="Settings", state="bad", message=error.message))
        report()
        storages.record_test(storage.id, state="failed", message=_message(steps))
        return _Outcome(error=error)

    steps += [Step(name=name) for name, _call in named_steps]
    for step in steps[-len(test_object.write_steps()) :] if storage.mode == "import" else ():
        step.state, step.message = "skip", "Not needed for import."
    try:
        failure = _run_steps(steps, named_steps, report)
        uploads: dict[str, int] = {}
        if failure is None and storage.mode != "import":
            uploads = unfinished_uploads.abort_abandoned(storage, test_object.destination)
    finally:
        test_object.clean_up()

    mount = test_object.destination.mount or None
    outcome = {"state": _state(steps), "message": _message(steps)}
    storages.record_test(storage.id, **outcome, create_only=test_object.create_only, mount=mount)
    return _Outcome(error=failure, uploads=uploads)


def _run_steps(
    steps: list[Step], named_steps: Sequence[store.NamedStep], report: Callable[[], None]
) -> PortalError | None:
    """Run the steps up to the first that fails, and return its error."""
    for step, (_name, call) in zip(steps, named_steps, strict=True):
        if step.state != "off":
            continue
        step.state = "run"
        report()
        failure = None
        began = time.monotonic()
        try:
            step.state, step.message = "ok", call()
        except StepWarning as warning:
            step.state, step.message = "warn", str(warning)
        except PortalError as error:
            step.state, step.message = "bad", error.message
            failure = error
        finally:
            step.ms = round((time.monotonic() - began) * 1000)
        report()
        if failure:
            return failure
    return None


def _state(steps: list[Step]) -> str:
    states = {step.state for step in steps}
    return "failed" if "bad" in states else "degraded" if "warn" in states else "ok"


def _message(steps: list[Step]) -> str:
    """The failure with the name of its step, else the warnings."""
    for step in steps:
        if step.state == "bad":
            return f"{step.name}: {step.message}"
    return " ".join(step.message for step in steps if step.state == "warn") or "Every step of the test passed."
