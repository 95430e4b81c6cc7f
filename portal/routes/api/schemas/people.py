"""Users and the roles that they have in a project."""

from pydantic import Field, RootModel

from portal.routes.api.schemas.values import Moment, Shown


class UserPath(Shown):
    user_id: str


class UserShown(Shown):
    id: str = Field(alias="_id")
    user_id: str
    email: str
    firstname: str
    lastname: str
    roles: list[str]
    root: bool = Field(description="Whether this is a site admin.")
    disabled: bool
    created: Moment
    modified: Moment


class Users(RootModel[list[UserShown]]):
    """All users for a site admin; for anybody else they themselves."""


class RolePath(Shown):
    role_id: str


class RoleShown(Shown):
    id: str = Field(alias="_id")
    label: str
    actions: list[str]


class Roles(RootModel[list[RoleShown]]):
    """What a user may be in a project."""
