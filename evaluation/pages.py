"""Self-contained HTML pages: their templates, which share one style."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_page(template: str, **values: Any) -> str:
    """The text of a page; whatever is filled in is escaped.

    Args:
        template: File name relative to this module's folder.
        **values: What the template asks for.
    """
    return _environment().get_template(template).render(**values)


def write_page(template: str, out: Path, **values: Any) -> Path:
    """Write a page, as `render_page` makes it.

    Args:
        template: File name relative to this module's folder.
        out: The HTML file to write.
        **values: What the template asks for.

    Returns:
        ``out``.
    """
    page = render_page(template, **values)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
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
