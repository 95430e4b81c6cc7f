"""Each command refuses nonsense in one sentence, and changes nothing."""

import shlex
import stat
from pathlib import Path

import pytest
from peewee import IntegrityError, OperationalError

from portal import cli
from portal.cli.context import message_for
from portal.models import Project
from tests.fixtures.cli import Portal

STANDS_FOR = {"LONG_TITLE": "A" * 17, "SIXTYFIVE": "x" * 65, "BYTE": "\udcff", "ESCAPE": "a\x1b[31mb"}
"""What cannot be written well in a command below."""
REFUSED, USAGE = 1, 2


@pytest.fixture
def site_of_each(portal: Portal) -> Portal:
    """A site with one thing of each kind."""
    portal.ok("group", "add", "neuro")
    portal.ok("project", "add", "neuro/Study A", "--ae-title", "STUDY_A")
    portal.ok("user", "add", "ada@site.example", "--admin")
    portal.ok("device", "add", "Connector 1", "--type", "connector")
    portal.ok("peer", "add", "PACS", "--ae-title", "PACS1", "--host", "127.0.0.1", "--port", "11112")
    portal.ok("storage", "add", "Disk", "--provider", "fs", "--path", str(portal.data / "storage" / "disk"))
    return portal


@pytest.mark.parametrize(
    ("code", "command", "words"),
    [
        (REFUSED, "user add no-address", "address"),
        (REFUSED, "user add ADA@site.example", "already has an account"),
        (REFUSED, "user password bob@site.example", "no user"),
        (REFUSED, "user disable bob@site.example", "portal user list"),
        (REFUSED, "user disable ada@site.example", "last site admin"),
        (REFUSED, "user enable bob@site.example", "no user"),
        (REFUSED, "user grant bob@site.example neuro", "no user"),
        (REFUSED, "user grant ada@site.example nowhere", "no group"),
        (REFUSED, "user grant ada@site.example neuro --role owner", "not a role"),
        (REFUSED, "user revoke ada@site.example neuro", "no grant"),
        (REFUSED, "storage show Nothing", "Nothing"),
        (REFUSED, "group add neuro", "group neuro already"),
        (REFUSED, "group add unknown", "reserved"),
        (REFUSED, "group add ../etc", "code"),
        (REFUSED, "group add ''", "code"),
        (REFUSED, "group add lab --label ESCAPE", "label"),
        (REFUSED, "project add 'neuro/Study A'", "already"),
        (REFUSED, "project add neuro", "GROUP/PROJECT"),
        (REFUSED, "project add 'nowhere/Study B'", "nowhere"),
        (REFUSED, "project add 'neuro/Study B' --ae-title LONG_TITLE", "at most 16"),
        (REFUSED, "project add 'neuro/Study B' --ae-title STUDY_A", "STUDY_A"),
        (REFUSED, "project add neuro/SIXTYFIVE", "64"),
        (REFUSED, "device add 'Connector 1'", "already"),
        (REFUSED, "device add Other --type toaster", "connector"),
        (REFUSED, "device key Nobody --name k", "Nobody"),
        (REFUSED, "device key 'Connector 1' --name ''", "name"),
        (REFUSED, "device key 'Connector 1' --name k --days 0", "past"),
        (REFUSED, "device key 'Connector 1' --name k --days -3", "past"),
        (REFUSED, "device key 'Connector 1' --name k --days 9999", "two years"),
        (REFUSED, "device key 'Connector 1' --name k --expires 2001-01-01", "past"),
        (USAGE, "device key 'Connector 1' --name k --expires soon", "soon"),
        (USAGE, "device key 'Connector 1' --name k --days 1 --expires 2099-01-01", "not both"),
        (USAGE, "device key 'Connector 1'", "--name"),
        (REFUSED, "device revoke 'Connector 1' ptk_000000", "ptk_000000"),
        (REFUSED, "device key 'Connector 1' --name k --only nowhere", "GROUP/PROJECT"),
        (REFUSED, "device key 'Connector 1' --name k --address 10.0.0.300", "10.0.0.300"),
        (REFUSED, "device rotate 'Connector 1' ptk_000000", "ptk_000000"),
        (USAGE, "device rotate 'Connector 1'", "KEY_ID"),
        (REFUSED, "device add Other --owner bob@site.example", "no user"),
        (REFUSED, "device owner 'Connector 1' bob@site.example", "no user"),
        (REFUSED, "device owner Nobody ada@site.example", "Nobody"),
        (REFUSED, "device remove Nobody", "Nobody"),
        (REFUSED, "device disable Nobody", "Nobody"),
        (REFUSED, "dimse enable --ae-title LONG_TITLE", "at most 16"),
        (REFUSED, "dimse enable --ae-title ' '", "at least one"),
        (REFUSED, "dimse enable --port 0", "not a port"),
        (REFUSED, "dimse enable --port 65536", "not a port"),
        (REFUSED, "dimse enable --port http", "not a port"),
        (REFUSED, "dimse enable --host 'two words'", "address"),
        (REFUSED, "dimse enable --tls-port 2762", "needs a certificate"),
        (REFUSED, "dimse enable --tls-port 70000", "not a port"),
        (REFUSED, "dimse create-certificate 'two words'", "not a host name"),
        (REFUSED, "dimse install-certificate /dev/null", "in PEM form"),
        (REFUSED, "dimse request-certificate", "Create a self-signed"),
        (REFUSED, "peer add WS --ae-title LONG_TITLE", "at most 16"),
        (REFUSED, "peer add WS --ae-title 'back\\slash'", "backslash"),
        (REFUSED, "peer add PACS --ae-title WS1", "PACS already"),
        (REFUSED, "peer add WS --ae-title PACS1", "PACS"),
        (REFUSED, "peer add WS --ae-title WS1 --host h --port 0", "not a port"),
        (REFUSED, "peer add WS --ae-title WS1 --host h", "port"),
        (REFUSED, "peer add WS --ae-title WS1 --port 104", "host"),
        (REFUSED, "peer add WS --ae-title WS1 --address 10.0.0.300", "10.0.0.300"),
        (REFUSED, "peer add WS --ae-title WS1 --allow echo,fly", "fly"),
        (REFUSED, "peer add WS --ae-title WS1 --project neuro/None", "None"),
        (REFUSED, "peer add WS --ae-title WS1 --project 'neuro/Study A:rwx'", "rwx"),
        (REFUSED, "peer add WS --ae-title WS1 --project 'neuro/Study A' --all-projects", "not both"),
        (REFUSED, "peer add WS --ae-title WS1 --store-to neuro/None", "None"),
        (REFUSED, "peer add WS --ae-title WS1 --move-to Nobody", "Nobody"),
        (REFUSED, "peer add WS --ae-title WS1 --our-ae-title LONG_TITLE", "at most 16"),
        (REFUSED, "peer add WS --ae-title WS1 --ca /nowhere", "No such file"),
        (REFUSED, "peer add WS --ae-title WS1 --certificate-name 'two words'", "not a host name"),
        (REFUSED, "peer add WS --ae-title WS1 --max-associations 0", "out of range"),
        (REFUSED, "peer add WS --ae-title WS1 --assume-character-set Latin", "not a character set"),
        (REFUSED, "peer add WS --ae-title WS1 --answer-character-set ISO_IR", "not a character set"),
        (REFUSED, "peer add WS --ae-title WS1 --identity maybe", "ignored, refused, required"),
        (REFUSED, "peer add WS --ae-title WS1 --identity required", "user name"),
        (REFUSED, "peer add WS --ae-title WS1 --identity required --identity-user ws", "password"),
        (USAGE, "peer add WS", "--ae-title"),
        (REFUSED, "rule add", "one target"),
        (REFUSED, "rule add --to neuro/None", "None"),
        (REFUSED, "rule set 9 --disable", "portal rule list"),
        (USAGE, "rule set 1", "at least one option"),
        (USAGE, "peer edit PACS", "at least one option"),
        (REFUSED, "peer edit PACS --port 70000", "not a port"),
        (REFUSED, "peer edit Nobody --port 104", "Nobody"),
        (REFUSED, "peer show Nobody", "Nobody"),
        (REFUSED, "peer enable Nobody", "Nobody"),
        (REFUSED, "peer disable Nobody", "Nobody"),
        (REFUSED, "peer remove Nobody", "Nobody"),
        (REFUSED, "peer echo Nobody", "Nobody"),
        (REFUSED, "refused ignore 77", "77"),
        (USAGE, "refused ignore seven", "seven"),
        (USAGE, "refused ignore 99999999999999999999", "range"),
        (REFUSED, "storage add Disk --provider fs --path DATA/storage/two", "Disk already"),
        (REFUSED, "storage add Two --provider fs --path /etc", "/etc"),
        (REFUSED, "storage add Two --provider fs --path DATA/storage/../archive", "root"),
        (REFUSED, "storage add Two --provider fs", "path"),
        (REFUSED, "storage add Two --provider fs --path DATA/storage/two --mode x", "mode"),
        (REFUSED, "storage add Two --provider fs --path DATA/storage/two --visible x", "Visible"),
        (REFUSED, "storage add Two --provider fs --path DATA/storage/two --prefix ../x", "prefix"),
        (REFUSED, "storage add Two --provider gcs --bucket b", "bucket"),
        (REFUSED, "storage add Two --provider gcs --bucket bucket", "service account"),
        (REFUSED, "storage add Two --provider gcs --bucket bucket --secret-file DATA/portal.db", "UTF-8"),
        (REFUSED, "storage add Two --provider azure --account Hospital --container data", "account"),
        (REFUSED, "storage add Two --provider azure --account hospital --container data", "key of the account"),
        (REFUSED, "storage add Two --provider azure --account hospital --container data --tenant t", "tenant"),
        (USAGE, "storage add Two --provider azure --bucket bucket", "--bucket"),
        (REFUSED, "storage add Two --provider s3", "bucket"),
        (REFUSED, "storage add Two --provider s3 --bucket bucket --endpoint s3.site.example", "not a valid endpoint"),
        (REFUSED, "storage add Two --provider s3 --bucket bucket --endpoint http://169.254.169.254", "link-local"),
        (REFUSED, "storage add Two --provider s3 --bucket bucket --access-key K", "secret of the access key"),
        (REFUSED, "storage add Two --provider s3 --bucket bucket --ca DATA/portal.db", "CA certificate"),
        (USAGE, "storage add Two --provider s3 --bucket b --secret-stdin --secret-file x", "not both"),
        (USAGE, "storage add Two --provider s3 --bucket bucket --path /tmp", "--path"),
        (USAGE, "storage add Two --provider fs --path DATA/storage/two --secret-stdin", "--secret-stdin"),
        (USAGE, "storage edit Disk", "at least one option"),
        (USAGE, "storage edit Disk --bucket b", "--bucket"),
        (REFUSED, "storage edit Nothing --mode both", "Nothing"),
        (USAGE, "storage add Two --provider ftp", "ftp"),
        (USAGE, "storage add Two --provider fs --path DATA/storage/two --bucket b", "--bucket"),
        (REFUSED, "storage test Nothing", "Nothing"),
        (REFUSED, "storage remove Nothing", "Nothing"),
        (REFUSED, "export start neuro/None --to Disk", "None"),
        (REFUSED, "export start 'neuro/Study A' --to Nothing", "Nothing"),
        (REFUSED, "export start 'neuro/Study A' --to Disk --dry-run --path '{nothing}'", "There is no field"),
        (REFUSED, "export start 'neuro/Study A' --to Disk --include 'colour is red'", "does not begin with a field"),
        (REFUSED, "export start 'neuro/Study A' --to Disk --subject Nobody", "There is no subject"),
        (USAGE, "export start 'neuro/Study A' --to Disk --subject A --search B", "only one of"),
        (USAGE, "export start 'neuro/Study A'", "--to"),
        (REFUSED, "export show 77", "77"),
        (REFUSED, "export cancel 77", "77"),
        (REFUSED, "export verify 77", "There is no job 77"),
        (REFUSED, "job show 77", "There is no job 77"),
        (REFUSED, "job cancel 77", "There is no job 77"),
        (REFUSED, "job retry 77", "There is no job 77"),
        (USAGE, "job list --kind cooking", "cooking"),
        (USAGE, "job list --state odd", "odd"),
        (USAGE, "job show seven", "seven"),
        (REFUSED, "conflict show 77", "77"),
        (REFUSED, "conflict resolve 77 keep", "77"),
        (USAGE, "conflict resolve 77 drop", "drop"),
        (REFUSED, "unpack DATA/archive", "data folder"),
        (REFUSED, "send 'neuro/Study A' --peer PACS --wait", "The DIMSE service is off"),
        (REFUSED, "trash restore 77", "77"),
        (USAGE, "trash restore x", "x"),
        (REFUSED, "archive save 77 DATA/x", "No record with the number 77"),
        (REFUSED, "trash purge 7", "No item in the trash has the number 7"),
        (REFUSED, "trash purge 7 --all", "not both"),
        (REFUSED, "verify --accept-restore moved", "nothing to accept"),
        (REFUSED, "verify --accept-restore x", "reason"),
        (REFUSED, "verify --anchor twelve", "NUMBER:HASH"),
        (REFUSED, "backup file", "Not available yet"),
        (REFUSED, "restore file", "Not available yet"),
        (REFUSED, "conformance", "Not available yet"),
        (USAGE, "fly", "fly"),
        (USAGE, "peer fly", "fly"),
        (USAGE, "user add BYTE@site.example", "UTF-8"),
    ],
)
def test_nonsense_is_refused_in_one_line_and_changes_nothing(
    site_of_each: Portal, code: int, command: str, words: str
) -> None:
    before = site_of_each.dump()
    meant = {**STANDS_FOR, "DATA": str(site_of_each.data)}
    for name, text in meant.items():
        command = command.replace(name, text)
    ended = site_of_each(*shlex.split(command))
    assert words in ended.err
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert site_of_each.dump() == before


def test_a_folder_without_a_site_is_named_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    assert cli.run(["peer", "list", "--data", str(nowhere)]) == REFUSED
    assert f"There is no site in {nowhere}" in capsys.readouterr().err
    assert not nowhere.exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("mine")
    assert cli.run(["up", "--data", str(tmp_path)]) == REFUSED
    assert "contains other files" in capsys.readouterr().err
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_password_that_is_not_there_is_asked_for(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        ended = portal("user", "add", "ada@site.example", "--password-stdin")
    assert (ended.code, "no password" in ended.err) == (REFUSED, True)


def test_rows_that_contradict_each_other_are_no_trouble_of_the_disk(site_of_each: Portal) -> None:
    project = Project.get()
    with pytest.raises(IntegrityError) as contradiction:
        Project.create(group=project.group, label=project.label)
    assert message_for(contradiction.value) is None
    assert "Check the disk" in (message_for(OperationalError("disk I/O error")) or "")
