"""Files that are written together: the disk is waited for once for all of them, and each is read back."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from portal.errors import PortalError
from portal.storage import folders
from portal.storage.drafts import Draft, sync
from portal.storage.store import Content

InWords = Callable[[OSError], PortalError]


class Batch:
    """Some files below the folder `base`; each goes on for as long as it has met no error.

    `in_words` says what an error of the file system means. `unnamed` and `together` say what it can: files without a
    name, and one sync for all of them. `turn` is held by the one batch of several that reads and writes small files of
    this machine's disks, while others wait for the disk: threads that do so at once take Python's lock from each other
    at each of their system calls, which takes more time than the calls.
    """

    def __init__(
        self, base: int, in_words: InWords, turn: AbstractContextManager[object], *, unnamed: bool, together: bool
    ) -> None:
        self._base = base
        self._in_words = in_words
        self._turn = turn
        self._unnamed, self._together = unnamed, together
        self._drafts: list[Draft] = []
        self._errors: dict[Draft, PortalError] = {}
        self._folders: dict[tuple[str, ...], int] = {}

    def write(self, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> list[PortalError | None]:
        """For each object, by its name, what it met, or None where it is there, whole and durable."""
        self._drafts = [Draft(name, content) for name, content in objects]
        turn = self._own_turn()
        try:
            with turn:
                self._each(self._lay_down)
            self._sync()
            with turn:
                self._each(Draft.compare)
                self._each(lambda draft: draft.appear(overwrite=overwrite))
            self._sync_folders()
        finally:
            self._close()
        return [self._errors.get(draft) for draft in self._drafts]

    def _own_turn(self) -> AbstractContextManager[object]:
        is_quick = self._together and len(self._drafts) > 1 and all(draft.content.at_hand for draft in self._drafts)
        return self._turn if is_quick else nullcontext()

    def _each(self, step: Callable[[Draft], None]) -> None:
        for draft in self._left():
            self._attempt(partial(step, draft), [draft])

    def _left(self) -> list[Draft]:
        return [draft for draft in self._drafts if draft not in self._errors]

    def _attempt(self, step: Callable[[], None], concerned: Iterable[Draft]) -> None:
        """What a step meets is kept with those that it concerns."""
        try:
            step()
        except PortalError as error:
            self._errors.update(dict.fromkeys(concerned, error))
        except OSError as error:
            self._errors.update(dict.fromkeys(concerned, self._in_words(error)))

    def _lay_down(self, draft: Draft) -> None:
        draft.begin(self._folder(tuple(draft.folders)), unnamed=self._unnamed)
        draft.write()

    def _folder(self, path: tuple[str, ...]) -> int:
        if path not in self._folders:
            self._folders[path] = folders.descend(self._base, path, make=True)
        return self._folders[path]

    def _sync(self) -> None:
        drafts = self._left()
        if self._together and len(drafts) > 1:
            self._attempt(lambda: sync(self._base), drafts)
        else:
            self._each(Draft.sync)

    def _sync_folders(self) -> None:
        for folder in self._folders.values():
            concerned = [draft for draft in self._left() if draft.folder == folder]
            if concerned:
                self._attempt(partial(os.fsync, folder), concerned)

    def _close(self) -> None:
        for draft in self._drafts:
            draft.close()
        for folder in self._folders.values():
            os.close(folder)
