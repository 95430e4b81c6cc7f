"""Save and test, health, and what the site keeps of a bucket and its credentials."""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dimse_worker import destinations
from dimse_worker.jobs import run_export
from portal import cli, models, runtime, settings
from portal.access.actors import Actor
from portal.errors import BadValue, Damaged, NotAllowed
from portal.exports import exports
from portal.jobs import jobs, runs
from portal.models import Acquisition, Job, JobItem, Secret, Storage, now
from portal.settings import Settings
from portal.storage import connection_test, credentials, health, same_server, storages
from portal.storage_drivers import endpoints
from portal.vault import Vault
from tests.fixtures.cli import Portal
from tests.fixtures.stores import ACCESS_KEY, HTTP, SECRET, Answer, Front, Guarded, Place, Request, Running
from tests.fixtures.work import Process, add_file

pytestmark = pytest.mark.xdist_group("stores")

READING = ["Name resolved", "Connected", "TLS", "Signed in", "Bucket found", "Listed"]
WRITING = ["Test object written", "Read back", "Overwriting refused", "Deleted"]


@pytest.fixture
def juicefs(stores: Running) -> Place:
    return stores["juicefs"]


def add(place: Place, admin: Actor, **changes: object) -> Storage:
    """The store as a storage of the site."""
    values = {"label": "bucket", "prefix": "portico", "secret": place.secret, **place.config, **changes}
    return storages.add(values.pop("label"), place.provider, actor=admin, **values)  # type: ignore[arg-type]


def test(row: Storage, admin: Actor) -> Job:
    """Save and test, in this process."""
    number = storages.request_test(row.label, actor=admin)
    runs.perform(number, connection_test.run_test)
    return jobs.get(number)


test.__test__ = False  # type: ignore[attr-defined]


def policy(without: str = "") -> str:
    """The policy that the guide gives, perhaps without a right."""
    guide = (Path(__file__).parents[2] / "docs" / "storage" / "s3.md").read_text()
    given = guide.partition("```json\n")[2].partition("```")[0]
    return given.replace(f'"{without}"', '"s3:GetObjectAcl"') if without else given


def states(job: Job) -> dict[str, str]:
    return {step["name"]: step["state"] for step in job.result["steps"]}


@pytest.mark.parametrize("place", HTTP, indirect=True)
def test_a_bucket_is_tested_step_by_step(place: Place, site: Settings, admin: Actor) -> None:
    row = add(place, admin)
    job = test(row, admin)
    named = "Container found" if place.provider == "azure" else "Bucket found"
    expected = dict.fromkeys([name.replace("Bucket found", named) for name in READING + WRITING], "ok")
    if not place.create_only:
        expected["Overwriting refused"] = "warn"
    assert states(job) == expected
    row = storages.by_id(row.id)
    assert (row.state, row.create_only) == ("ok" if place.create_only else "degraded", place.create_only)
    assert job.state == "done"
    assert ("later one wins" in row.message) is not place.create_only
    assert list(place.open("portico").list("portico-test-")) == []


def test_a_bucket_for_import_is_only_read(
    juicefs: Place, site: Settings, admin: Actor, make_front: Callable[..., Front]
) -> None:
    front = make_front(juicefs)
    job = test(add(juicefs.behind(front), admin, mode="import"), admin)
    assert states(job) == dict.fromkeys(READING, "ok") | dict.fromkeys(WRITING, "skip")
    assert {request.method for request in front.seen} == {"GET"}


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        ({"endpoint": "http://nothing.invalid"}, "Name resolved", "cannot be resolved"),
        ({"endpoint": "http://127.0.0.1:1"}, "Connected", "refuses connections on port 1"),
        ({"secret": {"secret_key": "wrong"}}, "Signed in", "refuses the secret"),
        ({"access_key": "AKIAOTHER"}, "Signed in", "does not know the access key"),
        ({"bucket": "nowhere"}, "Bucket found", "There is no bucket nowhere"),
    ],
)
def test_a_test_stops_at_the_first_failure_and_says_what_to_do(
    change: dict[str, object], step: str, words: str, juicefs: Place, site: Settings, admin: Actor
) -> None:
    row = add(juicefs, admin, **change)
    job = test(row, admin)
    names = READING + WRITING
    place = names.index(step)
    assert list(states(job).values()) == ["ok"] * place + ["bad"] + ["off"] * (len(names) - place - 1)
    row = storages.by_id(row.id)
    assert (job.state, row.state, row.message) == ("failed", "failed", job.message)
    assert row.message.startswith(f"{step}: ")
    assert words in row.message


def test_a_store_that_keeps_everything_is_no_failure(
    juicefs: Place, site: Settings, admin: Actor, make_front: Callable[..., Front]
) -> None:
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    front = make_front(juicefs, lambda request: denied if request.method == "DELETE" else None)
    job = test(add(juicefs.behind(front), admin), admin)
    assert (job.state, states(job)["Deleted"]) == ("done", "warn")
    assert "cannot be deleted and stays" in job.message
    for found in juicefs.open("portico").list("portico-test-"):
        juicefs.open("portico").delete(found.key)


def test_the_policy_of_the_guide_is_enough_under_the_prefix_and_nowhere_else(
    guarded: Guarded, site: Settings, admin: Actor
) -> None:
    place = guarded.account(policy())
    job = test(add(place, admin), admin)
    assert states(job) == dict.fromkeys(READING + WRITING, "ok")
    elsewhere = place.open("elsewhere")
    for attempt in (
        lambda: elsewhere.put("object", [b"x"], size=1, digest=hashlib.sha256(b"x").hexdigest(), overwrite=True),
        lambda: list(elsewhere.read("object")),
        lambda: elsewhere.delete("object"),
    ):
        with pytest.raises(NotAllowed):
            attempt()


@pytest.mark.parametrize(
    ("right", "step", "state", "words"),
    [
        ("s3:ListBucket", "Listed", "bad", "may not list the bucket"),
        ("s3:PutObject", "Test object written", "bad", "may not write objects to the bucket"),
        ("s3:GetObject", "Test object written", "bad", "may not look at objects of the bucket"),
        ("s3:DeleteObject", "Deleted", "warn", "may not delete objects of the bucket"),
        ("s3:ListBucketMultipartUploads", "Deleted", "ok", ""),
    ],
)
def test_a_right_that_is_missing_is_named_at_its_step(
    right: str, step: str, state: str, words: str, guarded: Guarded, site: Settings, admin: Actor
) -> None:
    job = test(add(guarded.account(policy(without=right)), admin), admin)
    assert states(job)[step] == state
    assert words in job.message
    assert not words or right in job.message


def test_a_test_touches_only_its_own_name(
    juicefs: Place, site: Settings, admin: Actor, make_front: Callable[..., Front]
) -> None:
    front = make_front(juicefs)
    test(add(juicefs.behind(front), admin), admin)
    changing = {request.path.partition("?")[0] for request in front.seen if request.method in ("PUT", "DELETE")}
    assert len(changing) == 1
    assert changing.pop().startswith("/bucket/portico/portico-test-")


def test_a_store_that_gives_back_other_bytes_fails_its_test_and_is_cleared(
    juicefs: Place, site: Settings, admin: Actor, make_front: Callable[..., Front]
) -> None:
    def rule(request: Request) -> Answer | None:
        return (
            Answer(200, b"x" * connection_test.TEST_OBJECT_SIZE)
            if request.method == "GET" and "list-type" not in request.path
            else None
        )

    job = test(add(juicefs.behind(make_front(juicefs, rule)), admin), admin)
    assert states(job)["Read back"] == "bad"
    assert list(juicefs.open("portico").list("portico-test-")) == []


def test_credentials_lie_sealed_and_nowhere_else(juicefs: Place, site: Settings, admin: Actor) -> None:
    row = add(juicefs, admin)
    test(row, admin)
    test(storages.edit("bucket", secret={"secret_key": "another-planted-secret"}, actor=admin), admin)
    with closing(sqlite3.connect(site.database)) as database:
        rows = "\n".join(database.iterdump())
    for file in (site.database, *site.database.parent.glob("portal.db-*")):
        content = file.read_bytes()
        assert SECRET.encode() not in content
        assert b"planted" not in content
    assert "planted" not in rows + str(storages.view(row)) + str(jobs.view(Job.get()))
    assert credentials.reveal(storages.by_id(row.id)) == {"secret_key": "another-planted-secret"}
    told = credentials.describe(row)
    assert (told["set_by"], told["set_at"] is not None) == (admin.name, True)
    storages.remove("bucket", actor=admin)
    assert not Secret.select().exists()


@pytest.mark.usefixtures("site")
def test_a_secret_of_another_key_file_is_asked_for_again(juicefs: Place, admin: Actor) -> None:
    row = add(juicefs, admin)
    foreign = Vault(b"x" * 32).seal("{}", row=f"storage:{row.id}")
    Secret.update(sealed=foreign).execute()
    with pytest.raises(Damaged, match="Enter the credential again"):
        storages.open(row)
    job = test(row, admin)
    assert (job.state, states(job)) == ("failed", {"Settings": "bad"})


@pytest.mark.parametrize("change", [{"bucket": "other"}, {"endpoint": "http://other.example"}, {"access_key": "K2"}])
def test_another_place_or_account_asks_for_the_secret_again(
    change: dict[str, str], juicefs: Place, site: Settings, admin: Actor
) -> None:
    row = add(juicefs, admin)
    with pytest.raises(BadValue, match="Enter the secret of the access key") as caught:
        storages.edit("bucket", actor=admin, **change)
    assert caught.value.field == "secret_key"
    assert storages.by_id(row.id).config == row.config
    assert storages.edit("bucket", actor=admin, secret={"secret_key": "new"}, **change).state == "untested"
    assert credentials.reveal(row) == {"secret_key": "new"}


def test_what_is_not_named_stays_and_the_secret_with_it(juicefs: Place, site: Settings, admin: Actor) -> None:
    row = add(juicefs, admin, region="eu-central-1")
    changed = storages.edit("bucket", actor=admin, region="eu-west-1", mode="both")
    assert changed.config == {**row.config, "region": "eu-west-1"}
    assert credentials.reveal(row) == juicefs.secret
    changed = storages.edit("bucket", actor=admin, provider="fs", path=str(site.data / "storage" / "x"))
    assert (changed.provider, changed.config.keys()) == ("fs", {"path"})
    assert credentials.reveal(row) == {}


def test_once_something_was_exported_its_place_stays_and_its_account_may_change(
    juicefs: Place, site: Settings, admin: Actor
) -> None:
    row = add(juicefs, admin)
    storages.lock_place(row)
    for change in ({"bucket": "other"}, {"prefix": "other"}, {"endpoint": "http://x"}, {"provider": "fs", "path": "x"}):
        change = {
            name: text.replace("x", str(site.data / "storage")) if name == "path" else text
            for name, text in change.items()
        }
        with pytest.raises(NotAllowed, match="Objects were exported"):
            storages.edit("bucket", actor=admin, secret={} if "path" in change else {"secret_key": "s"}, **change)
    assert (
        storages.edit("bucket", actor=admin, access_key="K2", secret={"secret_key": "s2"}).config["access_key"] == "K2"
    )


def test_an_account_of_the_environment_needs_no_secret(
    juicefs: Place, site: Settings, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = add(juicefs, admin, access_key="", secret={})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadValue, match="none in the environment of the worker"):
        storages.open(row)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert list(storages.open(row).list("nothing")) == []


@pytest.mark.parametrize(
    ("change", "words", "field"),
    [
        ({"bucket": ""}, "A bucket has a name", "bucket"),
        ({"bucket": "a/b"}, "A bucket has a name", "bucket"),
        ({"endpoint": "s3.site.example"}, "is not a valid endpoint", "endpoint"),
        ({"endpoint": "ftp://s3.site.example"}, "is not a valid endpoint", "endpoint"),
        ({"endpoint": "https://s3.site.example/path"}, "is not a valid endpoint", "endpoint"),
        ({"endpoint": "https://user:word@s3.site.example"}, "is not a valid endpoint", "endpoint"),
        ({"endpoint": "https://s3.site.example:99999"}, "is not a valid endpoint", "endpoint"),
        ({"endpoint": "https://a b"}, "is not a valid endpoint", "endpoint"),
        ({"region": "eu central"}, "A region has a name", "region"),
        ({"access_key": "a b"}, "An access key has", "access_key"),
        ({"access_key": ""}, "A secret needs its access key", "access_key"),
        ({"secret": {}}, "Enter the secret of the access key", "secret_key"),
        ({"secret": {"secret_key": "a\nb"}}, "without spaces or line breaks", "secret_key"),
        ({"secret": {"token": "x"}}, "has no token", "token"),
        ({"ca": "no certificate"}, "CA certificate cannot be read", "ca"),
        ({"ca": "kein Zertifikat für uns"}, "CA certificate cannot be read", "ca"),
        ({"path": "/srv"}, "has no path", "path"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_at_its_field(
    change: dict[str, object], words: str, field: str, site: Settings, admin: Actor
) -> None:
    place = Place("any", "s3", {"bucket": "bucket", "access_key": "K"}, {"secret_key": "s"})
    with pytest.raises(BadValue, match=words) as caught:
        add(place, admin, **change)
    assert caught.value.field == field
    assert storages.list_all() == []


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "0.0.0.0", "::"),
        *("224.0.0.1", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "2002:a9fe:a9fe::"),
        *("64:ff9b::169.254.169.254", "64:ff9b:1::100.100.100.200", "64:ff9b:1:ff::169.254.1.1", "::169.254.169.254"),
        *("64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:1a9:fe:a9fe::", "64:ff9b:1:1:a9:fea9:fe00:0", "64:ff9b::"),
    ],
)
def test_addresses_where_no_store_is_are_refused(address: str) -> None:
    with pytest.raises(NotAllowed, match="Choose another endpoint") as caught:
        endpoints.refuse_address(address, "s3.site.example")
    assert caught.value.field == "endpoint"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "52.219.1.1", "fd12:3456::1", "64:ff9b::52.219.1.1"),
        *("64:ff9b:1::10.0.0.5", "64:ff9b:1:e000::10.0.0.5", "2002:0a00:0005::1"),
    ],
)
def test_addresses_of_a_hospital_and_of_the_world_are_allowed(address: str) -> None:
    endpoints.refuse_address(address, "s3.site.example")


@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://[fe80::1]:80", "http://[::ffff:169.254.169.254]"])
def test_an_endpoint_that_is_such_an_address_is_not_saved(url: str, site: Settings, admin: Actor) -> None:
    with pytest.raises(NotAllowed, match="link-local"):
        add(Place("any", "s3", {"bucket": "bucket", "endpoint": url}), admin)
    assert storages.list_all() == []


def test_a_storage_is_tested_again_after_four_hours(mirror: Storage, site: Settings) -> None:
    assert health.enqueue_due_tests() == 0
    storages.record_test(mirror.id, state="ok", message="Fine.")
    assert health.enqueue_due_tests() == 0
    Storage.update(tested=now() - health.TEST_INTERVAL - timedelta(seconds=1)).execute()
    assert health.enqueue_due_tests() == 1
    assert health.enqueue_due_tests() == 0
    job = Job.get()
    assert (job.kind, job.params) == ("storage_test", {"storage": mirror.id})
    runs.perform(job.id, connection_test.run_test)
    assert storages.by_id(mirror.id).tested > now() - timedelta(minutes=1)
    assert health.enqueue_due_tests() == 0


def test_since_tells_how_long_a_storage_has_been_as_it_is(mirror: Storage, folder: Path, admin: Actor) -> None:
    assert states(test(mirror, admin))
    since = storages.by_id(mirror.id).since
    test(mirror, admin)
    assert storages.by_id(mirror.id).since == since
    folder.rmdir()
    test(mirror, admin)
    row = storages.by_id(mirror.id)
    assert (row.state, row.since > since) == ("failed", True)


def test_an_export_to_a_storage_that_fails_its_test_copies_nothing(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_file(acquisition, "a.txt", b"a", admin)
    folder.rmdir()
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    run_export(job.id)
    assert storages.by_id(mirror.id).state == "failed"
    assert not JobItem.select().exists()
    assert "does not exist" in jobs.get(job.id).message


@pytest.mark.parametrize("place", ["juicefs", "rgw"], indirect=True)
def test_an_export_to_a_bucket_names_exactly_what_the_bucket_damages(
    place: Place, acquisition: Acquisition, admin: Actor
) -> None:
    add_file(acquisition, "small.bin", b"s" * 1000, admin)
    add_file(acquisition, "large.bin", os.urandom(20 << 20), admin)
    add(place, admin, prefix=f"export-{place.name}")
    job = exports.start("lab/Trial", to="bucket", actor=admin)
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    items = {item.key.rpartition("/")[2]: item.state for item in JobItem.select()}
    assert items == {"small.bin": "verified", "large.bin": "verified" if place.keeps_parts else "failed"}
    assert jobs.get(job.id).state == ("done" if place.keeps_parts else "errors")


def test_a_bucket_is_named_on_the_command_line_and_its_secret_comes_from_a_file(portal: Portal, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("planted\n")
    options = ("--bucket", "bucket", "--endpoint", "http://127.0.0.1:9000", "--access-key", "K", "--prefix", "a/b")
    added = portal.ok("storage", "add", "Bucket", "--provider", "s3", *options, "--secret-file", str(file))
    assert (added["place"], added["config"]["path_style"]) == ("bucket at 127.0.0.1:9000", True)
    changed = portal.ok("storage", "edit", "Bucket", "--region", "eu-1", "--mode", "both", "--host-style")
    assert (changed["config"]["region"], changed["mode"], changed["config"]["path_style"]) == ("eu-1", "both", False)
    assert "planted" not in portal.dump() + str(added)
    assert "bucket at 127.0.0.1:9000" in portal("storage", "list").out
    assert portal("storage", "edit", "Bucket", "--access-key", "K2").code == 1
    portal.ok("storage", "edit", "Bucket", "--access-key", "K2", "--secret-file", str(file))


def test_a_worker_tests_a_bucket_for_the_command_line_which_tells_each_step(
    juicefs: Place, site: Settings, worker: Process, admin: Actor, capsys: pytest.CaptureFixture[str]
) -> None:
    add(juicefs, admin)
    add(juicefs, admin, label="closed", endpoint="http://127.0.0.1:1")
    models.database.close()
    data = ("--data", str(site.data))
    assert cli.run(["storage", "test", "bucket", *data]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[10:31].strip() for line in lines] == READING + WRITING
    assert {line[:10].strip() for line in lines} == {"ok", "warning"}
    assert cli.run(["storage", "test", "closed", *data]) == 1
    said = capsys.readouterr()
    assert "FAILED    Connected" in said.out
    assert said.err == "Connected: 127.0.0.1 refuses connections on port 1. Check the port, and that the store runs.\n"
    models.database.connect()


def with_archive(site: Settings, url: str) -> None:
    keys = {"PORTAL_ARCHIVE_ACCESS_KEY": "K", "PORTAL_ARCHIVE_SECRET": "s"}
    bucket = settings.load(site.data, {"PORTAL_ARCHIVE": url, **keys}).bucket
    runtime.start(replace(site, bucket=bucket))


AT_HOME, AT_AMAZON = "s3://images/a/b?endpoint=https://s3.site.example", "s3://images?region=eu-west-1"
HERE = "s3://images?endpoint=http://localhost:9000"
IMAGES = Place("any", "s3", {"bucket": "images", "access_key": "K"}, {"secret_key": "s"})


@pytest.mark.parametrize(
    ("url", "endpoint", "prefix"),
    [
        *((AT_HOME, "https://s3.site.example", prefix) for prefix in ("", "a", "a/b", "a/b/c")),
        (AT_HOME, "http://S3.site.example:80", "a"),
        (AT_HOME, "https://s3.site.example.:443", "a"),
        (HERE, "http://127.0.0.1:9000", ""),
        (AT_AMAZON, "", "exports"),
        (AT_AMAZON, "https://s3.us-east-2.amazonaws.com", ""),
    ],
)
def test_the_bucket_of_the_archive_is_no_storage(
    url: str, endpoint: str, prefix: str, site: Settings, admin: Actor
) -> None:
    before = add(IMAGES, admin, endpoint=endpoint, prefix=prefix, label="before")
    beside = add(IMAGES, admin, endpoint=endpoint, bucket="other", prefix=prefix, label="beside")
    with_archive(site, url)
    for attempt in (
        lambda: add(IMAGES, admin, endpoint=endpoint, prefix=prefix),
        lambda: storages.edit("beside", bucket="images", secret=IMAGES.secret, actor=admin),
        lambda: storages.open(before),
    ):
        with pytest.raises(BadValue, match="own archive uses this bucket") as caught:
            attempt()
        assert caught.value.field == "bucket"
    storages.open(beside)


def test_a_storage_at_google_is_not_the_archive_by_another_way(site: Settings, admin: Actor) -> None:
    with_archive(site, "s3://images/a?endpoint=https://storage.googleapis.com")
    fields = {"bucket": "images", "access_key": "GOOG1", "secret": {"secret_key": "s"}, "actor": admin}
    with pytest.raises(BadValue, match="own archive uses this bucket"):
        storages.add("google", "gcs", prefix="a/b", **fields)
    storages.add("google", "gcs", prefix="b", **fields)


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("https://s3.site.example", "https://S3.Site.Example.:443", True),
        ("https://s3.site.example", "http://s3.site.example", True),
        ("https://s3.site.example", "https://s3.site.example:9000", False),
        ("https://bücher.example", "https://xn--bcher-kva.example", True),
        ("http://localhost:9000", "http://127.0.0.1:9000", True),
        ("http://LOCALHOST.:9000", "http://[::1]:9000", True),
        ("http://127.1.2.3:9000", "http://[::ffff:127.0.0.1]:9000", True),
        ("http://[2001:db8::1]", "http://[2001:db8:0:0::1]", True),
        ("http://localhost:9000", "http://203.0.113.7:9000", False),
        ("http://localhost:9000", "http://127.0.0.1:9001", False),
        ("http://203.0.113.8", "http://203.0.113.7", False),
    ],
)
def test_a_server_is_known_however_it_is_written(one: str, other: str, are_one: bool) -> None:
    assert same_server.is_same(one, other) is same_server.is_same(other, one) is are_one


@pytest.mark.parametrize(
    "change",
    [{"prefix": "a/bc"}, {"prefix": "exports"}, {"bucket": "other"}, {"endpoint": "https://s3.site.example:9000"}],
)
def test_what_lies_beside_the_archive_is_a_storage(change: dict[str, object], site: Settings, admin: Actor) -> None:
    with_archive(site, AT_HOME)
    storages.open(add(IMAGES, admin, **{"endpoint": "https://s3.site.example", "prefix": "a/b", **change}))
