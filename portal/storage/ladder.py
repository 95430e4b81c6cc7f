"""Save and test: a storage is tried step by step, under a random name that nothing has, and each step is said."""

import contextlib
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from portal.errors import Missing, PortalError
from portal.models import Storage
from portal.runs import End, Run
from portal.storage import storages
from portal.storage.store import Remark

SIZE = 64 * 1024


@dataclass(kw_only=True)
class Step:
    """`state` is off (not tried), run, ok, warn, bad or skip (not used)."""

    name: str
    state: str = "off"
    sentence: str = ""
    ms: int | None = None


class _Trial:
    """One climb: the object that is tried with, and the storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.content = os.urandom(SIZE)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.key = f"portico-test-{secrets.token_hex(8)}"
        self.destination = storages.open(storage)

    def listed(self) -> str:
        count = sum(1 for _found in itertools.islice(self.destination.list(), 1000))
        return f"{'1,000 or more' if count == 1000 else count} objects lie there now."

    def wrote(self) -> str:
        self.destination.put(self.key, [self.content], size=SIZE, digest=self.digest)
        return f"{SIZE // 1024} kB under the name {self.key}, which nothing had."

    def read_back(self) -> str:
        if self.destination.digest(self.key) != (SIZE, self.digest):
            raise PortalError("It gives back other bytes than were written. Do not use it.")
        return "The same bytes, by their SHA-256."

    def kept(self) -> str:
        if self.destination.refuses(self.key, os.urandom(SIZE)):
            return "It refused to write over an object that is there."
        raise Remark("It replaced an object under its name: two writers at once are not told apart.")

    def deleted(self) -> str:
        try:
            self.destination.delete(self.key)
        except Missing:
            raise
        except PortalError as error:
            raise Remark(f"It keeps what was written ({self.key} stays): {error.sentence}") from error
        return "Nothing of the test is left."


def climb(run: Run) -> End:
    """Try the storage of a job; the steps stand in the job's result as they go, the outcome on the storage."""
    storage = storages.by_id(run.job.params["storage"])
    try:
        trial = _Trial(storage)
        reading = [*trial.destination.steps(), ("Listed", trial.listed)]
    except PortalError as error:
        steps = [Step(name="Settings", state="bad", sentence=error.sentence)]
        _report(run, steps)
        return _end(storage, steps)
    writing = [
        ("Wrote a random name", trial.wrote),
        ("Read back", trial.read_back),
        ("Overwriting refused", trial.kept),
        ("Deleted", trial.deleted),
    ]
    steps = [Step(name=name) for name, _try in reading + writing]
    for step in steps[len(reading) :] if storage.mode == "import" else ():
        step.state, step.sentence = "skip", "For import, reading is enough."
    with _cleared(trial):
        _take_each(run, steps, [attempt for _name, attempt in reading + writing])
    return _end(storage, steps)


def _take_each(run: Run, steps: list[Step], attempts: list[Callable[[], str]]) -> None:
    for step, attempt in zip(steps, attempts, strict=True):
        if step.state == "off":
            run.check()
            _take(step, attempt, partial(_report, run, steps))
        if step.state == "bad":
            return


def _take(step: Step, attempt: Callable[[], str], report: Callable[[], None]) -> None:
    step.state = "run"
    report()
    began = time.monotonic()
    try:
        step.state, step.sentence = "ok", attempt()
    except Remark as remark:
        step.state, step.sentence = "warn", str(remark)
    except PortalError as error:
        step.state, step.sentence = "bad", error.sentence
    step.ms = round((time.monotonic() - began) * 1000)
    report()


def _report(run: Run, steps: list[Step]) -> None:
    run.write(
        total=len(steps),
        done=sum(step.state in ("ok", "warn", "skip") for step in steps),
        failed=sum(step.state == "bad" for step in steps),
        result={"steps": [asdict(step) for step in steps]},
    )


@contextlib.contextmanager
def _cleared(trial: _Trial) -> Iterator[None]:
    """Take the trial's object away again, wherever the climb ended."""
    try:
        yield
    finally:
        with contextlib.suppress(PortalError):
            trial.destination.delete(trial.key)


def _end(storage: Storage, steps: list[Step]) -> End:
    bad = [step for step in steps if step.state == "bad"]
    remarks = [step for step in steps if step.state == "warn"]
    state = "failed" if bad else "degraded" if remarks else "ok"
    said = [f"{step.name}: {step.sentence}" if step.state == "bad" else step.sentence for step in bad or remarks]
    sentence = " ".join(said) or "Every step of the test passed."
    storages.note(storage.id, state=state, sentence=sentence)
    return End(state="failed" if bad else "done", sentence=sentence)
