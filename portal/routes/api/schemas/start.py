"""What clients request when they start."""

from pydantic import Field

from portal.routes.api.schemas.values import Shown


class Identity(Shown):
    """A device or a user by id."""

    type: str
    id: str


class AuthStatus(Shown):
    """Whose key it is."""

    origin: Identity
    user_id: str | None
    user_is_admin: bool
    is_device: bool
    roles: list[str]


class Version(Shown):
    id: str = Field(alias="_id")
    release: str = Field(description="The release of Portico.")
    flywheel_release: str = Field(description="The release of the interface that clients see.")


class Site(Shown):
    id: str
    name: str
    api_url: str
    dimse_host: str
    dimse_port: int
    pagination_limit: int


class Features(Shown):
    signed_url: bool
    dimse: bool
    project_export: bool


class Config(Shown):
    """What this site can do; nothing of it is secret."""

    site: Site
    features: Features
    signed_url: bool
