"""`portal send`: an export to a DICOM peer."""

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.exports import exports, request
from portal.exports.request import Options


@click.command("send")
@click.argument("project", metavar="GROUP/PROJECT")
@click.option("--peer", required=True, metavar="LABEL", help="The label of the peer.")
@click.option("--study", default="", metavar="UID", help="Only the study with this Study Instance UID.")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@on_site
def send(project: str, peer: str, study: str, wait: bool) -> Answer:
    """Send the instances of a project to a DICOM peer (C-STORE)."""
    to = f"{request.PEER_PREFIX}{peer}"
    job = exports.start(project, to=to, actor=operator(), options=Options(study=study))
    if wait:
        job = wait_for_job(job.id)
    view = exports.view(job)
    message = f"Send {job.id} of {view['items']} instances: {job.state}. {job.message}".strip()
    failed = wait and job.state != "done"
    failure = f"Send {job.id} ended {job.state}: {job.message or 'see portal export show'}" if failed else ""
    return Answer(view=view, message=message, failure=failure)


commands = (send,)
