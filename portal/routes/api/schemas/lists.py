"""What every list takes, and its two forms."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field, RootModel

from portal.routes.api.schemas.values import Digits, IdGiven, Query, Shown

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
FARTHEST = 10**9

Row = TypeVar("Row")


class ListQuery(Query):
    filter: Annotated[
        str, Field(description="Conditions, separated by commas, at most 3 of them with =~. Empty for none.")
    ] = ""
    sort: Annotated[str, Field(description="Like label:asc or created:desc.")] = ""
    limit: Annotated[int | None, Digits(1, MAX_LIMIT), Field(description="The most entries to answer.")] = None
    skip: Annotated[int | None, Digits(0, FARTHEST), Field(description="Entries to leave out at the start.")] = None
    page: Annotated[int | None, Digits(1, FARTHEST), Field(description="The number of a page of `limit`.")] = None
    after_id: Annotated[IdGiven | None, Field(description="The id of the last entry of the page before.")] = None


class GroupListQuery(ListQuery):
    after_id: Annotated[str | None, Field(description="The id of the last entry of the page before.")] = None


class Page(Shown, Generic[Row]):
    """A list for clients that announce the feature `pagination` in the header `x-accept-feature`."""

    count: int
    total: int
    results: list[Row]


class Listed(RootModel[list[Row] | Page[Row]], Generic[Row]):
    """A plain list; with `x-accept-feature: pagination` an object with `count`, `total` and `results`."""
