"""The files of one upload: each is stored once the whole request has arrived, with what the request says of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from portal.access import audit, rights, upload_counts
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.archive.writers import Part
from portal.errors import BadValue, NotAllowed
from portal.ingest import incoming, received
from portal.ingest.incoming import Incoming
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.models import File, writing
from portal.tree import file_metadata, files
from portal.tree.file_metadata import NOTHING, FileMetadata


class Upload:
    """The files of one request while they are received; without a commit nothing of them stays."""

    def __init__(
        self,
        placement: Placement,
        *,
        scope: Scope,
        actor: Actor,
        actor_now: Callable[[], Actor] | None = None,
        may_hold: bool = False,
    ) -> None:
        """Raises NotAllowed for an actor that may store nowhere; `begin` raises what is wrong with the placement.

        `actor_now` gives the actor as it is when all bytes are here, or raises what refuses it then.
        """
        rights.require_may_write(actor)
        if not (scope.stores or rights.is_site_admin(actor)):  # a new site has no project yet
            raise NotAllowed("You may not store files anywhere on this site. Ask a site admin for write access.")
        self._placement, self._scope, self._actor, self._may_hold = placement, scope, actor, may_hold
        self._actor_now = actor_now
        self._opened = ExitStack()
        self._files: dict[str, Incoming] = {}
        self._current: Incoming | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    def begin(self, filename: str) -> None:
        """Begin the next file. Raises BadValue for its name, and what `incoming.open` raises."""
        name = files.clean_name(filename)
        if name in self._files:
            raise BadValue(f"The request has two files with the name {name[:64]!r}.", field="name")
        left = received.MAX_BYTES_IN_MEMORY - sum(one.bytes_in_memory for one in self._files.values())
        self._current = incoming.open(
            scope=self._scope,
            origin=self._actor.origin,
            placement=self._placed(self._placement, name),
            may_hold=self._may_hold,
        )
        self._current.limit_memory(max(0, left))
        self._files[name] = self._opened.enter_context(self._current)

    def write(self, chunk: Part) -> None:
        """Add bytes to the file that began last. Raises NoSpace."""
        if self._current is not None:
            self._current.write(chunk)

    def commit(
        self,
        said: Sequence[FileMetadata] = (),
        *,
        preserve: bool = False,
        places: Mapping[str, Placement] | None = None,
    ) -> list[Stored]:
        """Store the files one after the other, each durable before the next, and apply what is said of them.

        `places` are other placements, by name. With `preserve`, what was said of an existing file stays. The actor's
        rights are those of this moment, since its access may have been taken while the bytes came. Raises what refuses
        it by now, and BadValue for metadata of no file of the request, then nothing is stored; and what
        `Incoming.commit` raises, then the files before that one stay, and are `same` when they come again.
        """
        if not self._files:
            raise BadValue("The request has no file; send one as a part with a file name.")
        by_name = self._by_name(said)
        self._place_again(places or {})
        stored = []
        for name, one in self._files.items():
            result = one.commit()
            about = by_name.get(name, NOTHING)
            if one.zip_member_count is not None:
                about = replace(about, zip_member_count=one.zip_member_count)
            self._describe(result, about, preserve=preserve)
            placement = self._placement if places is None else places[name]
            if result.outcome != "same" and placement.container_type and placement.container_id:
                upload_counts.count(self._actor, placement.container_type, placement.container_id, result.size)
            stored.append(result)
        return stored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def _placed(self, placement: Placement, name: str) -> Placement:
        return Placement(
            container_type=placement.container_type, container_id=placement.container_id, name=name, also_here=True
        )

    def _place_again(self, places: Mapping[str, Placement]) -> None:
        """Place each file by the present rights of the actor, where `places` names it or as it began."""
        if self._actor_now is not None:
            self._actor = self._actor_now()
        rights.require_may_write(self._actor)
        scope = rights.scope(self._actor)  # the containers may be new, too
        for name, one in self._files.items():
            one.place(self._placed(places.get(name, self._placement), name), scope)

    def _by_name(self, said: Sequence[FileMetadata]) -> dict[str, FileMetadata]:
        """What is said of each file. Metadata without a name is that of the only file."""
        only = next(iter(self._files)) if len(self._files) == 1 else ""
        by_name: dict[str, FileMetadata] = {}
        for one in said:
            name = files.clean_name(one.name) if one.name else only
            if name not in self._files and one.columns:
                named = f"of {name[:64]!r}, which is no file of it" if name else "without the name of one of its files"
                raise BadValue(f"The request has metadata {named}.", field="metadata")
            by_name[name] = one
        return by_name

    def _describe(self, stored: Stored, said: FileMetadata, *, preserve: bool) -> None:
        if not said.columns or (preserve and stored.outcome in ("same", "version")):
            return
        with writing():
            changed = file_metadata.describe(File.get_by_id(stored.file_id), said)
            if changed and stored.outcome == "same":
                audit.record(self._actor, "file:changed", "file", stored.file_id, changed=changed)
