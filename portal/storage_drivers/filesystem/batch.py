"""Files that are written together: the disk is waited for once for all of them, and each is read back."""

import os
from collections.abc import Callable, Iterable, Sequence

from portal.errors import PortalError
from portal.storage_drivers.filesystem import open_folder
from portal.storage_drivers.filesystem.temporary_files import TemporaryFile, sync_file_system
from portal.storage_drivers.store import Content

TranslateError = Callable[[OSError], PortalError]


class Batch:
    """Some files below the folder `base`; each goes on for as long as it has met no error.

    `in_words` says what an error of the file system means. `unnamed` and `together` say what it can: files without a
    name, and one sync for all of them.
    """

    def __init__(self, base: int, in_words: TranslateError, *, unnamed: bool, together: bool) -> None:
        self._base = base
        self._in_words = in_words
        self._unnamed, self._together = unnamed, together
        self._drafts: list[TemporaryFile] = []
        self._errors: dict[TemporaryFile, PortalError] = {}
        self._folders: dict[tuple[str, ...], int] = {}

    def write(self, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> list[PortalError | None]:
        """For each object, by its name, what it met, or None where it is there, whole and durable."""
        self._drafts = [TemporaryFile(name, content) for name, content in objects]
        try:
            self._each(self._lay_down)
            self._sync()
            self._each(TemporaryFile.compare)
            self._each(lambda draft: draft.appear(overwrite=overwrite))
            self._sync_folders()
        finally:
            self._close()
        return [self._errors.get(draft) for draft in self._drafts]

    def _each(self, step: Callable[[TemporaryFile], None]) -> None:
        for draft in self._left():
            try:
                step(draft)
            except (PortalError, OSError) as error:
                self._note(error, [draft])

    def _left(self) -> list[TemporaryFile]:
        return [draft for draft in self._drafts if draft not in self._errors]

    def _note(self, error: PortalError | OSError, concerned: Iterable[TemporaryFile]) -> None:
        """What a step has met is kept with those that it concerns."""
        said = self._in_words(error) if isinstance(error, OSError) else error
        self._errors.update(dict.fromkeys(concerned, said))

    def _lay_down(self, draft: TemporaryFile) -> None:
        draft.begin(self._folder(tuple(draft.folders)), unnamed=self._unnamed)
        draft.write()

    def _folder(self, path: tuple[str, ...]) -> int:
        if path not in self._folders:
            self._folders[path] = open_folder.descend(self._base, path, make=True)
        return self._folders[path]

    def _sync(self) -> None:
        drafts = self._left()
        if not self._together or len(drafts) < 2:
            self._each(TemporaryFile.sync)
            return
        try:
            sync_file_system(self._base)
        except OSError as error:
            self._note(error, drafts)

    def _sync_folders(self) -> None:
        for folder in self._folders.values():
            concerned = [draft for draft in self._left() if draft.folder == folder]
            try:
                if concerned:
                    os.fsync(folder)
            except OSError as error:
                self._note(error, concerned)

    def _close(self) -> None:
        for draft in self._drafts:
            draft.close()
        for folder in self._folders.values():
            os.close(folder)
