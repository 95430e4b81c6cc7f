"""How the queries of a peer are read and answered beyond what it negotiates, as its row keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from portal import site_settings
from portal.dicom import character_sets
from portal.models import Peer
from portal.query.options import QueryOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """The settings of one peer; character sets as their defined terms with backslashes between them."""

    lenient: bool = False
    """Its queries are relational although it does not negotiate that."""
    assumed: str = ""
    """The character set of queries that declare none; empty: that of the site."""
    answered_in: str = ""
    """The character set of answers; empty: that of the query, else of the object, else UTF-8."""

    @property
    def stored(self) -> dict[str, Any]:
        return {"lenient": self.lenient, "assumed": self.assumed, "answered_in": self.answered_in}


def of(peer: Peer | None) -> QuerySettings:
    return QuerySettings(**(peer.queries if peer is not None else {}))


def clean(values: Mapping[str, Any]) -> QuerySettings:
    """The settings as a form or a command gives them. Raises BadValue with the field."""
    return QuerySettings(
        lenient=bool(values["lenient_queries"]),
        assumed=site_settings.clean_character_set(values["assumed_character_set"], field="assumed_character_set"),
        answered_in=site_settings.clean_character_set(values["answer_character_set"], field="answer_character_set"),
    )


def options_for(peer: Peer | None, negotiated: QueryOptions) -> QueryOptions:
    """What a query of the peer may use: what it has negotiated, and what the site and its settings say."""
    own = of(peer)
    return replace(
        negotiated,
        relational=negotiated.relational or own.lenient,
        max_answers=site_settings.get_cached("query.answers"),
        assumed=character_sets.parse(own.assumed or site_settings.get_cached("query.character_set")),
        answered_in=character_sets.parse(own.answered_in),
    )
