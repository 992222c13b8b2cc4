"""Zip archives from strangers: sizes are checked before anything is inflated, names before anything is read."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from compress.errors import NetworkError

# torch stores tensors uncompressed and only deflates source code and its debug tables, some 5 to 20 times.
_MOST_INFLATION = 20
_ALWAYS_ALLOWED = 64 * 2**20  # bytes


class ZipArchive:
    """The members of a zip file, without the folder torch puts them all in.

    Args:
        path: File of the archive, also named in messages.
        content: Bytes of the archive where it lies inside another file; None to read the file.

    Raises:
        NetworkError: The file is no readable zip, or its members would inflate beyond reason.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        size = path.stat().st_size if content is None else len(content)
        try:
            self._zip = zipfile.ZipFile(path if content is None else io.BytesIO(content))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, UnicodeDecodeError) as error:
            raise damaged(path, str(error)) from error
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        inflated = sum(member.file_size for member in members)
        limit = _ALWAYS_ALLOWED + _MOST_INFLATION * size
        if inflated > limit:
            raise NetworkError(
                f"an archive that inflates to at most {limit / 1e6:.0f} MB",
                f"{inflated / 1e6:.0f} MB announced in {path} of {size / 1e6:.1f} MB",
                "save the network again with torch; this file is a zip bomb or damaged",
            )
        roots = {member.filename.partition("/")[0] for member in members if "/" in member.filename}
        root = f"{roots.pop()}/" if len(roots) == 1 else ""
        self._members = {member.filename.removeprefix(root): member for member in members}
        if len(self._members) != len(members):
            raise damaged(path, "two members have one name")

    @property
    def names(self) -> list[str]:
        """Return the members' names, without the common root folder."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        """Return a member's size in bytes.

        Raises:
            NetworkError: There is no such member.
        """
        if name not in self._members:
            raise damaged(self.path, f"'{name}' is missing in it")
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """Return a member's bytes, verified by its checksum.

        Raises:
            NetworkError: There is no such member, or it is damaged.
        """
        self.size(name)
        try:
            return self._zip.read(self._members[name])
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            raise damaged(self.path, f"'{name}': {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> ZipArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def damaged(path: Path, why: str) -> NetworkError:
    """Return the error for a file of a known format that cannot be read."""
    return NetworkError("a whole file", f"{path}, which is damaged ({why})", "copy or save it again")
