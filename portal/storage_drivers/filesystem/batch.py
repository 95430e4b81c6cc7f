"""Files that are written together: the disk is waited for once for all of them, and each is read back."""

import os
from collections.abc import Callable, Iterable, Sequence

from portal.errors import PortalError
from portal.storage_drivers.filesystem import open_folder
from portal.storage_drivers.filesystem.temporary_files import TemporaryFile, sync_file_system
from portal.storage_drivers.store import Content

TranslateError = Callable[[OSError], PortalError]


class Batch:
    """Some files below the folder `base`; each is written on until it has an error.

    `translate_error` says what an error of the file system means. `unnamed` and `together` say what the file system
    supports: files without a name, and one sync for all of them.
    """

    def __init__(self, base: int, translate_error: TranslateError, *, unnamed: bool, together: bool) -> None:
        self._base = base
        self._translate_error = translate_error
        self._unnamed, self._together = unnamed, together
        self._files: list[TemporaryFile] = []
        self._errors: dict[TemporaryFile, PortalError] = {}
        self._folders: dict[tuple[str, ...], int] = {}

    def write(self, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> list[PortalError | None]:
        """For each object, by its name, its error, or None where it is there, whole and durable."""
        self._files = [TemporaryFile(name, content) for name, content in objects]
        try:
            self._each(self._write_one)
            self._sync()
            self._each(TemporaryFile.compare)
            self._each(lambda file: file.appear(overwrite=overwrite))
            self._sync_folders()
        finally:
            for file in self._files:
                file.close()
            for folder in self._folders.values():
                os.close(folder)
        return [self._errors.get(file) for file in self._files]

    def _each(self, step: Callable[[TemporaryFile], None]) -> None:
        for file in self._without_error():
            try:
                step(file)
            except (PortalError, OSError) as error:
                self._record(error, [file])

    def _without_error(self) -> list[TemporaryFile]:
        return [file for file in self._files if file not in self._errors]

    def _record(self, error: PortalError | OSError, files: Iterable[TemporaryFile]) -> None:
        translated = self._translate_error(error) if isinstance(error, OSError) else error
        self._errors.update(dict.fromkeys(files, translated))

    def _write_one(self, file: TemporaryFile) -> None:
        path = tuple(file.folders)
        if path not in self._folders:
            self._folders[path] = open_folder.descend(self._base, path, create=True)
        file.begin(self._folders[path], unnamed=self._unnamed)
        file.write()

    def _sync(self) -> None:
        files = self._without_error()
        if not self._together or len(files) < 2:
            self._each(TemporaryFile.sync)
            return
        try:
            sync_file_system(self._base)
        except OSError as error:
            self._record(error, files)

    def _sync_folders(self) -> None:
        for folder in self._folders.values():
            files = [file for file in self._without_error() if file.folder == folder]
            try:
                if files:
                    os.fsync(folder)
            except OSError as error:
                self._record(error, files)
