"""A report as one HTML file that needs no other."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from .. import __version__
from .pictures import Picture
from .report import Report, kinds


def write(
    folder: Path, report: Report, pictures: Mapping[str, Sequence[Picture]], settings: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Write a page, ``index.html``, and its figures as files; what else is in the folder is left alone.

    Args:
        folder: Is made if it is not there.
        report: What is said.
        pictures: By heading.
        settings: By run what was analysed with which settings and versions.

    Returns:
        The page.
    """
    for picture in (picture for several in pictures.values() for picture in several):
        path = folder / f"{picture.path}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.png)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["base64"] = lambda content: b64encode(content).decode()
    environment.filters["kinds"] = kinds
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text("utf-8"))
    page = folder / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(template.render(report=report, pictures=pictures, settings=settings, version=__version__), "utf-8")
    return page
