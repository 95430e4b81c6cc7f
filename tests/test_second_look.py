"""What `make test` does with tests that failed beside others: a small project, run by the same plugins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = """
import os, pytest

BUSY = "PYTEST_XDIST_WORKER" in os.environ

@pytest.fixture
def held():
    yield
    assert not BUSY

def test_whole(): pass
def test_busy(): assert not BUSY
def test_wrong(): assert False
def test_left(held): pass
def test_dying(): BUSY and os._exit(3)
def test_dying_too(): BUSY and os._exit(3)
def test_skipped(): pytest.skip("no tool")
def test_away(): BUSY or pytest.skip("no tool")
@pytest.mark.counts_losses
def test_counting(): assert not BUSY
@pytest.mark.xdist_group("group")
@pytest.mark.parametrize("name", ["a@b"])
def test_grouped(name): assert not BUSY
@pytest.mark.prove
@pytest.mark.parametrize("number", range(11))
def test_many(number): assert not BUSY
"""
ALONE = {
    name: f"passed alone: test_small.py::{name}"
    for name in ("test_busy", "test_left", "test_dying", "test_grouped[a@b]", "test_counting")
}


class Run:
    """One run of some tests of the small project on two workers, as `make tests` runs those of Portico."""

    def __init__(self, folder: Path, *names: str, marked: str = "not prove", plugins: tuple[str, ...] = ()) -> None:
        (folder / "test_small.py").write_text(PROJECT)
        (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  counts_losses\n  prove\naddopts = -m 'not prove'\n")
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-m", marked]
        command += ["-p", "tests.second_look", *plugins, *(f"test_small.py::{name}" for name in names)]
        # Only the plugins that count here: the others take longer to load than all of this.
        environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
        environ |= {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
        environ.pop("PYTEST_XDIST_WORKER", None)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environ)
        self.code, self.output = done.returncode, done.stdout + done.stderr
        self.kept = folder / "build" / "passed-alone.txt"


def test_what_passes_alone_is_named_and_kept_and_fails_no_run(tmp_path: Path) -> None:
    run = Run(tmp_path, "test_whole", "test_busy", "test_left", "test_grouped")
    assert run.code == 0, run.output
    for name in ("test_busy", "test_left", "test_grouped[a@b]"):
        assert run.output.count(ALONE[name]) == 1
    assert "test_whole" not in run.output
    assert run.kept.read_text().count("assert not True") == 3


def test_what_fails_again_fails_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, "test_busy", "test_wrong")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert "failed again: test_small.py::test_wrong" in run.output
    assert ALONE["test_busy"] in run.output
    assert "test_wrong" not in run.kept.read_text()


def test_a_run_without_failures_leaves_no_list(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "passed-alone.txt").write_text("of the run before")
    run = Run(tmp_path, "test_whole")
    assert run.code == 0
    assert not run.kept.exists()
    assert "Second look" not in run.output


def test_a_test_that_counts_losses_gets_no_second_look(tmp_path: Path) -> None:
    run = Run(tmp_path, "test_busy", "test_counting")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert "not run again, because it counts losses: test_small.py::test_counting" in run.output
    assert ALONE["test_counting"] not in run.output


def test_after_more_failures_than_ten_there_is_no_second_look(tmp_path: Path) -> None:
    run = Run(tmp_path, "test_many", marked="prove")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert "11 failed" in run.output
    assert "passed alone" not in run.output


def test_a_worker_that_dies_costs_its_test_a_second_look_and_the_others_run(tmp_path: Path) -> None:
    run = Run(tmp_path, "test_dying", "test_whole", "test_busy", "test_grouped")
    assert run.code == 0, run.output
    assert "1 passed" in run.output
    assert "crashed while running" in run.kept.read_text()
    assert ALONE["test_dying"] in run.output
    assert ALONE["test_busy"] in run.output


def test_when_all_workers_die_and_none_takes_their_place_the_run_fails(tmp_path: Path) -> None:
    names = [f"test_many[{number}]" for number in range(6)]
    run = Run(tmp_path, "test_dying", "test_dying_too", *names, marked="", plugins=("--max-worker-restart=0",))
    assert run.code not in (0, None)
    assert "passed alone" not in run.output


def test_a_module_that_cannot_be_read_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("import nothing_of_that_name\n")
    run = Run(tmp_path, "test_busy", plugins=("test_other.py",))
    assert run.code not in (0, None)
    assert "passed alone" not in run.output


@pytest.mark.parametrize("name", ["test_skipped", "test_away"])
def test_no_second_look_makes_good_for_a_skipped_test(tmp_path: Path, name: str) -> None:
    if name == "test_away":  # It fails beside others, and is skipped alone.
        (tmp_path / "conftest.py").write_text(
            "import os\ndef pytest_runtest_teardown(item):\n"
            "    assert item.name != 'test_away' or 'PYTEST_XDIST_WORKER' not in os.environ\n"
        )
    run = Run(tmp_path, name, "test_busy", plugins=("-p", "tests.no_skips"))
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.output
    assert ALONE["test_busy"] in run.output
