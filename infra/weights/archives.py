"""One file out of a zip archive (a wheel is one too), whatever the archive may claim."""

from pathlib import Path
from zipfile import ZipFile

from infra.errors import WeightsError
from infra.weights.cache import LARGEST, write_chunks
from infra.weights.wording import shown

_CHUNK = 1 << 20


def extract_member(archive: Path, member: str, target: Path, *, size: int | None = None) -> None:
    """Write one member of an archive into a file.

    Args:
        archive: The archive.
        member: Path inside it, or the end of one (some publishers put all into a folder, some
            do not); never a path to write to.
        target: Where its bytes go.
        size: Bytes that it must have; looked at before anything is unpacked.

    Raises:
        WeightsError: It is no archive, is damaged, or holds no such member, or a larger one.
    """
    hint = "another version of it is being served: check the address, or `pip config list`"
    try:
        with ZipFile(archive) as opened:
            member = _full_name(opened, member)
            found = opened.getinfo(member).file_size
            if found != (found if size is None else size) or found > LARGEST:
                asked = f"{LARGEST:,} at most" if size is None else f"{size:,}"
                raise WeightsError(
                    f"{shown(member)} of {archive.name} has {found:,} bytes, not {asked}", hint=hint
                )
            # ZipFile checks the checksum, and never unpacks more than the size it tells.
            with opened.open(member) as source:
                write_chunks(target, iter(lambda: source.read(_CHUNK), b""))
    except KeyError:
        raise WeightsError(f"{archive.name} holds no {member}", hint=hint) from None
    except WeightsError:
        raise
    except Exception as error:  # each way to compress has errors of its own
        raise WeightsError(
            f"{archive.name} is damaged: {shown(str(error))}", hint="pull it again"
        ) from error


def _full_name(archive: ZipFile, member: str) -> str:
    names = archive.namelist()
    ends = [name for name in names if name.endswith(f"/{member}")]
    return ends[0] if member not in names and len(ends) == 1 else member
