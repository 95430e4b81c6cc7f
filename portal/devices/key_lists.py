"""The API keys of an owner as pages show them: state, narrowing, and who still uses each."""

from collections.abc import Sequence
from dataclasses import dataclass

from portal.devices import api_keys, key_narrowing, key_uses
from portal.models import ApiKey, KeyUse


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """One key. `uses` has its addresses and programs, the latest first; `narrowing` is empty for a full key."""

    key: ApiKey
    state: str
    narrowing: str
    uses: Sequence[KeyUse]
    replaced_by: ApiKey | None = None
    """The newest key that was rotated from it and is not revoked."""

    @property
    def is_over(self) -> bool:
        return self.state not in api_keys.LIVE_STATES

    @property
    def is_still_used(self) -> bool:
        """Whether it was used after the key that replaces it was created."""
        made = self.replaced_by
        return made is not None and self.key.last_used is not None and self.key.last_used > made.created


@dataclass(frozen=True, kw_only=True)
class KeyList:
    rows: Sequence[KeyRow]
    most: int = api_keys.MAX_LIVE_KEYS

    @property
    def live(self) -> int:
        return sum(not row.is_over for row in self.rows)

    def find(self, key_id: str | None) -> KeyRow | None:
        return next((row for row in self.rows if row.key.key_id == key_id), None)


def of_owner(owner: api_keys.Owner) -> KeyList:
    """The listed keys, live ones before the others, each newest first; at most four statements."""
    keys = sorted(api_keys.for_owner(owner), key=lambda key: api_keys.state(key) not in api_keys.LIVE_STATES)
    places, uses = key_narrowing.place_names(keys), key_uses.by_key(keys)
    successors = {
        key.replaces: key for key in sorted(keys, key=lambda key: key.id) if key.replaces and key.revoked is None
    }
    return KeyList(
        rows=[
            KeyRow(
                key=key,
                state=api_keys.state(key),
                narrowing=key_narrowing.in_words(key, places.get(key.id, "")),
                uses=uses.get(key.id, ()),
                replaced_by=successors.get(key.key_id),
            )
            for key in keys
        ]
    )
