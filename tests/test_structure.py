"""Who loads whom, as it really happens: import-linter reads the source, this test looks at what is loaded."""

import inspect
import json
import os
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

import dimse_worker
import portal

ROOT = Path(__file__).parents[1]
WEB = {"flask", "flask_login", "flask_wtf", "flask_limiter", "werkzeug", "jinja2", "wtforms"}
NETWORK = {"dimse_worker", "pynetdicom"}
WEB_LAYER = ("portal.app", "portal.routes", "portal.web", "portal.processes.web")
NAMES_OF_NOTHING = {"utils", "util", "helpers", "common", "services", "managers", "misc"}


def modules_of(package: object) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")  # type: ignore[attr-defined]
    return [module.name for module in found if not module.name.startswith("portal.migrations.")]


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after importing these, and every module of ours."""
    program = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *modules], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)
    return {name.partition(".")[0] for name in names} | {name for name in names if name.startswith("portal.")}


def test_the_package_itself_loads_nothing() -> None:
    assert not {name for name in loaded_by("portal") if name.startswith("portal.")}


def test_the_listener_and_the_worker_load_no_web() -> None:
    assert not loaded_by(*modules_of(dimse_worker)) & WEB


def test_the_web_server_loads_nothing_of_the_dicom_network() -> None:
    assert not loaded_by("portal.processes.web_server", "portal.app", "wsgi") & NETWORK


def test_the_command_line_and_the_supervisor_load_neither() -> None:
    commands = [name for name in modules_of(portal) if name.startswith("portal.cli")]
    assert not loaded_by("portal.processes.supervisor", *commands) & (WEB | NETWORK)


def test_the_domain_loads_no_web() -> None:
    domain = [name for name in modules_of(portal) if not name.startswith(WEB_LAYER)]
    assert not loaded_by(*(name for name in domain if not name.endswith("__main__"))) & (WEB | NETWORK)


def test_the_tables_know_nothing_of_the_domain() -> None:
    graph = grimp.build_graph("portal")
    tables = [name for name in graph.modules if name.startswith("portal.models")]
    above = {imported for name in tables for imported in graph.find_modules_directly_imported_by(name)}
    assert not {name for name in above if not name.startswith(("portal.models", "portal.errors"))}


def test_every_package_stands_on_a_floor() -> None:
    """A package that no layer names would be free to import from any."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    floors = {name.strip() for layer in layers for name in layer.split("|")}
    assert floors == {"dimse_worker", *(f"portal.{module.name}" for module in pkgutil.iter_modules(portal.__path__))}


def test_each_kind_of_job_names_the_function_of_the_worker_that_runs_it() -> None:
    from dimse_worker import jobs
    from portal.jobs.kinds import KINDS

    found = {
        name: list(inspect.signature(value).parameters)
        for name, value in inspect.getmembers(jobs, inspect.isfunction)
        if name.startswith("run_")
    }
    assert found == {kind.runner: ["job_id"] for kind in KINDS.values() if kind.runner}


@pytest.mark.xdist_group("together")
def test_tests_that_belong_together_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """They share servers; a runner that no longer knows the groups would start each of them twice, in silence."""
    assert request.node.nodeid.endswith("@together") == ("PYTEST_XDIST_WORKER" in os.environ)


def test_every_module_is_named_for_a_thing() -> None:
    names = {name.rpartition(".")[2] for name in modules_of(portal) + modules_of(dimse_worker)}
    assert not names & NAMES_OF_NOTHING


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("pytest.skip('no tool')", 1)])
def test_a_skipped_test_fails_the_run_in_ci(tmp_path: Path, body: str, code: int) -> None:
    (tmp_path / "test_one.py").write_text(f"import pytest\n\n\ndef test_one():\n    {body}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.no_skips", "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == code, done.stdout
