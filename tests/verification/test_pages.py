"""The page of the verification: what was found and what to do, starting another, and accepting a restore."""

import re

from portal.access import audit_anchors
from portal.access.actors import Actor
from portal.jobs import jobs
from portal.models import Job, Project
from portal.settings import Settings
from portal.verification import verification
from tests.fixtures.web import Visitor, text_of
from tests.fixtures.work import add_file
from tests.verification.sites import Edit, Verify, write_entries

PAGE = "/activity/verification/"


def test_a_site_that_was_not_verified_yet_says_what_a_verification_does(visitor: Visitor) -> None:
    text = text_of(visitor.get(PAGE).text)
    assert "The site has not been verified yet." in text
    # On the day before it is told how long that is; earlier, on which Sunday.
    assert re.search(r"Next verification (in \d+ (h|min|s)|\d+ \w{3} \d{4},? 02:00)", text), text


def test_verify_now_starts_one_and_shows_how_far_it_is(visitor: Visitor) -> None:
    assert visitor.post(PAGE).status_code == 303
    [job] = Job.select()
    assert (job.kind, job.state) == ("site_verification", "waiting")
    text = text_of(visitor.get(PAGE).text)
    assert "0 of 0 checked" in text
    assert "Verify now" not in text
    part = visitor.get(PAGE + "running", headers={"HX-Request": "true"})
    assert "HX-Refresh" not in part.headers
    jobs.finish(job, "done", "Nothing is wrong.")
    assert visitor.get(PAGE + "running").headers["HX-Refresh"] == "true"


def test_what_was_found_is_listed_with_what_to_do_and_on_the_page_of_the_job(
    visitor: Visitor, project: Project, verify: Verify, database: Edit, admin: Actor
) -> None:
    number = add_file(project, "notes.txt", b"text", admin)
    database("UPDATE blob SET digest = 'ab'")
    job = verify().job
    page = visitor.get(PAGE)
    text = text_of(page.text)
    assert "1 problem found by the verification" in text
    assert "Its row has another digest than its bytes. The row was changed: restore the database" in text
    assert f'href="/data/file/{number}"' in page.text
    assert "The verification of the site found 1 problem" in text  # the alert
    assert "Its row has another digest" in text_of(visitor.get(f"/jobs/{job.id}").text)
    assert "Its row has another digest" in text_of(visitor.get(PAGE + "?q=byte&only=archive").text)
    assert "None found." in text_of(visitor.get(PAGE + "?only=audit").text)


def test_a_restore_is_accepted_with_a_reason(visitor: Visitor, site: Settings, verify: Verify, admin: Actor) -> None:
    write_entries(admin, 3)
    audit_anchors.add("interval")
    site.audit_anchors.unlink()
    verify()
    assert "Accept a restore" in text_of(visitor.get(PAGE).text)
    refused = visitor.post(PAGE + "accept", {"reason": ""})
    assert (refused.status_code, "Give the reason" in refused.text) == (422, True)
    assert visitor.post(PAGE + "accept", {"reason": "Moved to a new server"}).status_code == 303
    job = verification.active()
    assert job is not None
    jobs.finish(job, "done", "")
    assert "Accept a restore" not in text_of(visitor.get(PAGE).text)
    assert verify().found == []


def test_only_site_admins_see_and_start_it(reader: Visitor, stranger: Visitor) -> None:
    assert (reader.get(PAGE).status_code, reader.post(PAGE).status_code) == (403, 403)
    assert (stranger.get(PAGE).status_code, Job.select().count()) == (303, 0)


def test_the_schedule_is_changed_in_settings(visitor: Visitor) -> None:
    values = {"weekday": "wednesday", "hour": "23:00"}
    saved = visitor.post("/settings/verification", values, follow_redirects=True)
    assert "Weekday: from sunday to wednesday" in text_of(saved.text)
    assert "The site is verified only when somebody starts it." in text_of(visitor.get(PAGE).text)
    refused = visitor.post("/settings/verification", {**values, "enabled": "y", "hour": "25:00"})
    assert (refused.status_code, "The hour must be one of" in refused.text) == (422, True)
