"""What clients list that Portico has little of, or nothing."""

from typing import Any

from pydantic import Field

from portal.routes.api.schemas.values import Moment, Shown


class JobPath(Shown):
    job_id: str = Field(description="The id of a job.")


class JobShown(Shown):
    """A job in the background: an export, an import, a purge."""

    id: str = Field(alias="_id")
    label: str
    kind: str
    state: str
    message: str
    done: int
    failed: int
    total: int
    created: Moment
    modified: Moment


class CollectionShown(Shown):
    """There is none."""

    id: str = Field(alias="_id")
    info: dict[str, Any]
