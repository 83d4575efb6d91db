"""What a file's name tells about who is seen in it."""

import re
from typing import Literal, get_args

from infra.errors import UsageError

Layout = Literal["vfhq", "celebvhq", "hdtf", "ffhq", "plain"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

# An id of a YouTube video: eleven characters, which may be hyphens and underscores.
_YOUTUBE = r"(?P<identity>[\w-]{11})"

_PATTERNS: dict[str, re.Pattern[str]] = {
    # Clip+<youtube id>+P<person>+C<cut>+F<first frame>-<last frame>
    "vfhq": re.compile(rf"Clip\+{_YOUTUBE}\+P\d+\+C\d+\+F\d+-\d+", re.ASCII),
    # <youtube id>_<n>
    "celebvhq": re.compile(rf"{_YOUTUBE}(_\d+)+", re.ASCII),
    # WDA_<speaker><speech>_<part>: the speech's number goes, one person gives many of them.
    # RD_Radio<n>_<part>: the number stays, each radio address is another speaker's.
    "hdtf": re.compile(r"(?P<identity>RD_Radio\d+|W[DR]A_.*?[^\d_])\d*_\d+"),
    # 00000 .. 69999: every picture is another person's.
    "ffhq": re.compile(r"(?P<identity>\d{5})"),
    "plain": re.compile(r"(?P<identity>.*)", re.DOTALL),
}


def check_layout(layout: str) -> None:
    """Refuse a layout that there is not.

    Raises:
        UsageError: It names the layouts that there are.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"no layout is called {layout!r}; the layouts are {', '.join(LAYOUTS)}")


def read_identity(stem: str, layout: str) -> tuple[str, bool]:
    """Identity of the person in a clip, read out of its file name.

    Args:
        stem: The file's name without folder and suffix.
        layout: One of ``LAYOUTS``.

    Returns:
        The identity, and whether the name follows the layout; one that does not is its own
        identity.

    Raises:
        UsageError: There is no such layout.
    """
    check_layout(layout)
    match = _PATTERNS[layout].fullmatch(stem)
    return (match["identity"], True) if match else (stem, False)
