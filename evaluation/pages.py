"""Self-contained HTML pages: their templates, which share one style."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def write_page(template: str, out: Path, **values: Any) -> Path:
    """Write a page; whatever is filled in is escaped.

    Args:
        template: File name beside this module.
        out: The HTML file to write.
        **values: What the template asks for.

    Returns:
        ``out``.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out
