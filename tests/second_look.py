"""A pytest plugin of `make test`: what failed beside other tests is run again, each alone (docs/decisions/0140).

A run passes where each of them passes alone; which these were is printed, and kept with how each failed in
`build/passed-alone.txt`. There is no second look after more than MOST_FAILURES, at a test marked `counts_losses`, or
where the run itself did not come to its end. A worker that dies fails the test that it ran; another one runs the rest.
"""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

MOST_FAILURES = 10
OK, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED
COLLECTED = pytest.StashKey[set[str]]()


class Groups(LoadGroupScheduling):
    """The groups of xdist, without what makes its run wait for ever after a worker has died."""

    def remove_node(self, node: WorkerController) -> str | None:
        units = self.assigned_work[node]
        running = next((name for unit in units.values() for name, is_over in unit.items() if not is_over), None)
        for unit in units.values():
            # It would kill the worker that takes its place too.
            unit.update({name: True for name in unit if name == running})
        # A worker that is given nothing but what is over asks for no more.
        self.assigned_work[node] = {scope: unit for scope, unit in units.items() if not all(unit.values())}
        super().remove_node(node)
        return running

    def schedule(self) -> None:
        super().schedule()
        # A worker begins a test when it knows the next: one that takes another's place needs two units, as all do.
        for node in self.nodes:
            self._reschedule(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_xdist_node_collection_finished(node: WorkerController, ids: list[str]) -> None:
    node.config.stash[COLLECTED] = set(ids)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    status = yield
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(config, "workerinput") or reporter is None:
        return status
    kept = config.rootpath / "build" / "passed-alone.txt"
    kept.unlink(missing_ok=True)
    return _look_again(config, reporter, kept) if status == FAILED else status


def _look_again(config: pytest.Config, reporter: pytest.TerminalReporter, kept: Path) -> int:
    stats = reporter.stats
    failures = {each.nodeid: each for kind in ("failed", "error") for each in stats.get(kind, [])}
    # What passed in its setup alone is listed without a word for it.
    ran = {each.nodeid for kind in stats if kind for each in stats[kind] if isinstance(each, pytest.TestReport)}
    # Where a worker has died, the others run what it had still to run.
    never_ran = config.stash.get(COLLECTED, set()) - ran
    for name in sorted(never_ran):
        reporter.write_line(f"never ran: {name}", red=True)
    is_of_tests = all(isinstance(each, pytest.TestReport) for each in failures.values())
    if never_ran or not is_of_tests or not 0 < len(failures) <= MOST_FAILURES:
        return FAILED

    reporter.section("What failed is run again, each alone", sep="=", bold=True)
    outcomes = {name: _alone(config, name) for name in sorted(failures)}
    passed = [name for name, outcome in outcomes.items() if outcome == OK]
    if passed:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("\n\n".join(f"{name}\n{failures[name].longreprtext}" for name in passed) + "\n")
    reporter.section("Second look", sep="=", bold=True)
    for name, outcome in outcomes.items():
        reporter.write_line(f"{_words(outcome)}: {_plain(name)}", bold=True, yellow=outcome == OK, red=outcome != OK)
    return OK if len(passed) == len(failures) else FAILED


def _alone(config: pytest.Config, name: str) -> int:
    """The exit status of a run of this test, in a process of its own, with nothing beside it."""
    chosen = f"({config.option.markexpr or 'not counts_losses'}) and not counts_losses"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", chosen, "--durations=0"]
    # A skipped test has not passed; and what the next `pytest --last-failed` runs is what failed in the whole run.
    command += ["-p", "tests.no_skips", "-p", "no:cacheprovider", _plain(name)]
    return subprocess.run(command, cwd=config.rootpath, check=False).returncode


def _plain(name: str) -> str:
    """The name of a test without the group that xdist writes behind it."""
    return name.rpartition("@")[0] if name.rfind("@") > name.rfind("]") else name


def _words(outcome: int) -> str:
    if outcome == pytest.ExitCode.NO_TESTS_COLLECTED:
        return "not run again, because it counts losses"
    return "passed alone" if outcome == OK else "failed again"
