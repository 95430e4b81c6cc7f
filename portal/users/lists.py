"""The list of users."""

from typing import Any

from peewee import Case

from portal.listing import LongList, ignoring_case
from portal.models import User


def _user_kind() -> Any:
    return Case(None, [(User.disabled, "disabled"), (User.is_admin, "admin")], "user")


USERS = LongList(
    table=User,
    rows=User.select,
    views=list,
    state=_user_kind,
    searched=(User.email,),
    sorts={
        "email": lambda: ignoring_case(User.email),
        "state": _user_kind,
        "seen": lambda: User.last_seen,
        "since": lambda: User.created,
    },
    usual="email",
    heads=("E-mail address", "Site admin", "Disabled", "Last signed in", "Since"),
    cells=lambda row: (row.email, row.is_admin, row.disabled, row.last_seen, row.created),
)
