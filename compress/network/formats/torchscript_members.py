"""Members of a TorchScript archive that torch may see: those whose names are exactly what torch writes.

torch's zip reader finds a member whatever the case of its name, so two names that differ in nothing else are two
contents for one question.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from compress.errors import NetworkError
from compress.network.formats.pickle_bounds import check_bounds
from compress.network.formats.pickles import NotAPickleError
from compress.network.formats.zip_archive import ZipArchive, damaged

_READ = re.compile(
    r"data\.pkl|constants\.pkl|version|byteorder|\.data/(version|serialization_id)"
    r"|(data|constants)/\w+|code/(\w+/)*\w+\.py(\.debug_pkl)?"
)
#: What users keep beside a network, and what torch's mobile runtime reads: nothing of it is needed here.
_LEFT_OUT = re.compile(
    r"extra/.*|traced_inputs\.pkl|traced_inputs/\w+|bytecode\.pkl|bytecode/\w+|mobile_debug_handles\.pkl|metadata\.pkl|model\.json"
    r"|\.(format_version|storage_alignment)",
    re.DOTALL,
)
_PICKLES = (".pkl", ".debug_pkl")


def members(archive: ZipArchive) -> Iterator[tuple[str, bytes]]:
    """Return the members that torch may see, by name, with pickles within bounds.

    Raises:
        NetworkError: A member has a name that torch would not write, two names differ only in case, or a pickle exceeds
            the bounds for its size.
    """
    folded: dict[str, str] = {}
    for name in archive.names:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise _unknown(archive, f"'{other}' and '{name}', one name to torch")
    for name in archive.names:
        if _LEFT_OUT.fullmatch(name):
            continue
        if not _READ.fullmatch(name):
            raise _unknown(archive, f"the member {name[:80]!r}")
        content = archive.read(name)
        if name.endswith(_PICKLES):
            try:
                check_bounds(io.BytesIO(content))
            except NotAPickleError as error:
                raise damaged(archive.path, f"{name}: {error}") from error
        yield name, content


def _unknown(archive: ZipArchive, content: str) -> NetworkError:
    return NetworkError(
        "a TorchScript archive as torch writes it",
        f"{content} in {archive.path}",
        "save it again with torch.jit.save",
    )
