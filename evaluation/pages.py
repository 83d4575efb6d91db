"""Self-contained HTML pages: their templates, which share one style."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.storage import write_atomic


def render_page(template: str, **values: Any) -> str:
    """The text of a page; whatever is filled in is escaped.

    Args:
        template: File name relative to this module's folder.
        **values: What the template asks for.
    """
    return _environment().get_template(template).render(**values)


def write_page(template: str, out: Path, **values: Any) -> Path:
    """Write a page, as `render_page` makes it, in place of an earlier one; never a part of it.

    Args:
        template: File name relative to this module's folder.
        out: The HTML file to write.
        **values: What the template asks for.

    Returns:
        ``out``.

    Raises:
        LakeError: The disk is full or read-only.
    """
    write_atomic(out, render_page(template, **values).encode(), point="page")
    return out


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
