"""Parts of a file over HTTP, by which browsers seek in videos (RFC 9110, section 14)."""

import re

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def byte_range(header: str | None, size: int) -> range | None:
    """The bytes that a ``Range`` header asks for.

    Args:
        header: Its value; None where there is none.
        size: Of the file, in bytes.

    Returns:
        The bytes to send with 206. None is for the whole file with 200: what we do not understand
        (several ranges, other units) may be ignored, and is.

    Raises:
        ValueError: None of these bytes exist (416).
    """
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        wanted = range(max(size - int(last), 0), size)
    elif last and int(last) < int(first):
        return None  # malformed, says the standard
    else:
        wanted = range(int(first), min(int(last) + 1, size) if last else size)
    if not wanted:
        raise ValueError(f"bytes {header} of {size}")
    return wanted
