"""The lists of Data, Conflicts and the Trash: counted, searched, sorted, paged, taken away, and nobody else's."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from portal import migrations, models, runtime, settings
from portal.access.actors import Actor, operator
from portal.ingest import conflicts
from portal.models import Acquisition, File, Grant, Project, Session, Subject, writing
from portal.trash import trash
from portal.tree import containers, projects
from portal.users import users
from tests.fixtures.archive import a_project, an_object, store, upload
from tests.fixtures.web import HTMX, MOST_STATEMENTS, Visitor, statements, text_of
from tests.routes.test_lists import first_cells, table_in

pytestmark = pytest.mark.xdist_group("data lists")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a site with sixty of everything below one project, which takes longer to fill than to look at."""
    chosen = settings.load(tmp_path_factory.mktemp("filled") / "data", {"PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        fill(operator())
    runtime.archive().close()
    return chosen.database


def fill(actor: Actor) -> None:
    project = a_project("trial", actor=actor)
    store(an_object(), project)
    for number in range(59):
        store(an_object(ImageComments=f"scan {number}"), project)
        projects.add(f"neuro/p{number:02}", actor=actor)
        subject = containers.add_subject(project.id, f"S{number:02}", actor=actor)
        trash.move_to_trash("subject", subject.id, actor=actor)
        containers.add_subject(project.id, f"s{number:02}", actor=actor)
        containers.add_session(Session.get().subject_id, f"Visit {number:02}", actor=actor)
        containers.add_acquisition(Session.get().id, f"{number + 2} T1", actor=actor)
        upload(bytes(number + 1), Acquisition.get().id, f"n{number:02}.txt", actor=actor)


@pytest.fixture
def full(filled: Path, site: settings.Settings) -> dict[str, str]:
    """The address of each list of the filled site, by its name. It comes before anybody signs in."""
    with closing(sqlite3.connect(filled)) as source:
        source.backup(models.database.connection())
    return {
        "projects": "/data/",
        "subjects": f"/data/project/{Project.get(Project.label == 'trial').id}",
        "sessions": f"/data/subject/{Session.get().subject_id}",
        "acquisitions": f"/data/session/{Session.get().id}",
        "files": f"/data/acquisition/{Acquisition.get().id}",
        "conflicts": "/data/conflicts/",
        "trash": "/data/trash",
    }


def granted(visitor: Visitor, project: Project) -> None:
    number = next(user.id for user in users.list_all() if user.email == visitor.email)
    with writing():
        Grant.create(who_type="user", who_id=number, project=project, role="ro")


def test_every_list_is_counted_sorted_paged_and_taken_away_in_few_statements(
    full: dict[str, str], visitor: Visitor
) -> None:
    for name, path in full.items():
        visitor.get(path)  # the first view of a session in an hour is written into the audit log
        with statements() as sent:
            page = visitor.get(path).text
        assert len(sent) <= MOST_STATEMENTS, (name, len(sent), sent)
        number = re.search(r'id="count"[^>]*>(\d+) ', page)
        assert number, name
        assert int(number[1]) >= 59, name
        assert 'rel="next"' in page, name
        offered = set(re.findall(r'\?sort=([a-z-]+)"', page))
        assert len(offered) >= 2, name
        for sort in offered | {sort.removeprefix("-") for sort in offered}:
            with statements() as sent:
                answer = visitor.get(f"{path}?sort={sort}&q=e&page=1")
            assert answer.status_code == 200, (name, sort)
            assert len(sent) <= MOST_STATEMENTS, (name, sort, len(sent))
        with statements() as sent:
            heads, *rows = table_in(visitor.get(f"{path}?format=csv"))
        assert len(sent) <= MOST_STATEMENTS, name
        assert len(rows) == int(number[1]), name
        assert {len(row) for row in rows} == {len(heads)}, name
        part = visitor.get(path, headers=HTMX).text
        assert 'id="narrow" hx-swap-oob="outerMorph"' in part, name


def test_containers_are_sorted_by_what_they_hold_and_by_name_as_people_read(
    full: dict[str, str], visitor: Visitor
) -> None:
    assert first_cells(visitor.get("/data/?sort=-size").text)[0] == "neuro/trial"
    assert first_cells(visitor.get("/data/?sort=subjects").text)[0] == "neuro/p00"
    assert first_cells(visitor.get(f"{full['sessions']}?sort=-files").text)[0] == Session.get().label
    assert first_cells(visitor.get(f"{full['files']}?sort=-size&q=txt").text)[0] == "n58.txt"
    numbers = [row[0] for row in table_in(visitor.get(f"{full['acquisitions']}?format=csv"))[1:]]
    assert numbers == sorted(numbers, key=lambda label: int(label.split()[0]))
    assert table_in(visitor.get(f"{full['acquisitions']}?format=csv&sort=-size"))[1][2] == "CT"


def test_the_amounts_of_a_list_are_those_of_its_download(full: dict[str, str], visitor: Visitor) -> None:
    heads, row = table_in(visitor.get("/data/?format=csv&q=trial"))
    told = dict(zip(heads, row, strict=True))
    assert told["Files"] == str(File.select().where(File.deleted_at.is_null()).count())
    assert told["Subjects"] == str(Subject.select().where(Subject.trash.is_null()).count())


def test_conflicts_are_filtered_by_state_the_newest_first(full: dict[str, str], visitor: Visitor, admin: Actor) -> None:
    newest, *rest = conflicts.list_newest()
    conflicts.resolve(newest.id, "keep", actor=admin)
    page = visitor.get("/data/conflicts/").text
    assert "All 59 Open 58 Kept 1" in text_of(page)
    assert page.index(f"conflict {newest.id}<") < page.index(f"conflict {rest[0].id}<")
    assert "1 conflict found" in text_of(visitor.get("/data/conflicts/?only=keep").text)
    assert "58 conflicts found" in text_of(visitor.get("/data/conflicts/?only=open&q=content").text)


def test_a_researcher_counts_sorts_and_takes_away_only_what_was_granted(
    full: dict[str, str], visitor: Visitor, reader: Visitor, admin: Actor
) -> None:
    other = a_project("secret", actor=admin)
    store(an_object(StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1", SOPInstanceUID="1.2.9.2"), other)
    granted(reader, other)

    assert "1 project" in text_of(reader.get("/data/").text)
    assert [row[0] for row in table_in(reader.get("/data/?format=csv&sort=-size"))[1:]] == ["neuro/secret"]
    assert "0 projects" in text_of(reader.get("/data/?q=trial").text)
    assert table_in(reader.get(f"/data/project/{other.id}?format=csv"))[1][2] == "1"
    for name, path in full.items():
        if name != "projects":
            for query in ("", "?format=csv", "?sort=-since&q=n"):
                answer = reader.get(f"{path}{query}")
                assert answer.status_code in (403, 404), (name, query)
                assert "trial" not in answer.text


def test_files_beside_what_is_below_have_a_list_of_their_own(visitor: Visitor, admin: Actor) -> None:
    from tests.fixtures.work import add_file

    project = a_project("trial", actor=admin)
    for number in range(12):
        add_file(project, f"note {number:02}.txt", b"x", admin)
    page = visitor.get(f"/data/project/{project.id}").text
    assert "12 files attached to the project itself" in text_of(page)
    assert f'href="/data/project/{project.id}/files"' in page
    found = visitor.get(f"/data/project/{project.id}/files?q=note+1&sort=-name").text
    assert first_cells(found) == ["note 11.txt", "note 10.txt"]
    assert len(table_in(visitor.get(f"/data/project/{project.id}/files?format=csv"))) == 13
    assert visitor.get("/data/acquisition/1/files").status_code == 404


def test_an_acquisition_is_found_by_what_its_objects_say(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    store(an_object(SeriesDescription="Thorax nativ"), project)
    path = f"/data/session/{Session.get().id}"
    with writing():
        Acquisition.update(label="1").execute()
    for typed in ("nativ", "ct"):
        assert "1 acquisition found" in text_of(visitor.get(f"{path}?q={typed}").text)
    assert "0 acquisitions found" in text_of(visitor.get(f"{path}?q=mr").text)
