"""How Sphinx builds the reference from the docstrings: ``python -m sphinx -W -n -b html tests/reference <folder>``."""

from collections.abc import Callable
from types import ModuleType
from typing import get_type_hints

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import lightning_separation
from lightning_separation.cli.main import main

project = "lightning-separation"
version = release = lightning_separation.__version__
html_title = f"{project} {version}"
html_theme_options = {
    "description": lightning_separation.__doc__,
    "page_width": "1400px",
    "body_max_width": "none",
    "sidebar_width": "260px",
}
html_copy_source = False

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autosummary_generate = False  # the tables alone; everything of a room is on one page
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

# Names that a type checker alone sees.
nitpick_ignore = [("py:class", "Figure"), ("py:class", "Test")]
# Names of other packages: their references are not at hand where this one is built.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections\.abc|matplotlib|numpy|pandas|pathlib|torch|types)\..*"),
]


def setup(app: Sphinx) -> None:
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-before-process-signature", evaluate_constructor)
    app.connect("autodoc-process-docstring", add_summary)
    app.connect("autodoc-process-docstring", drop_docstring_of_type)
    app.connect("autodoc-skip-member", skip_fields)


def evaluate_constructor(app: Sphinx, obj: Callable, bound_method: bool) -> None:
    """Turn a constructor's annotations into types: Sphinx looks up their names in the class alone."""
    if obj.__name__ == "__init__":
        obj.__annotations__ = get_type_hints(obj)


def add_summary(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put a table of its public names under the docstring of a room."""
    if isinstance(obj, ModuleType):
        names = [each for each in obj.__all__ if getattr(getattr(obj, each), "__module__", "").startswith(name)]
        names.sort(key=str.swapcase)  # functions, then the types of their results
        lines += ["", ".. autosummary::", "   :nosignatures:", "", *(f"   {each}" for each in names), ""]


def drop_docstring_of_type(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Leave out what Python says of dictionaries, strings and tuples."""
    if what == "data":
        lines.clear()


def skip_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of named tuples: the docstring of the class tells of them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


class CommandHelp(SphinxDirective):
    """What the command line says of itself, or of one of its commands."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        context = click.Context(main, info_name="lightning-separation", terminal_width=90, **main.context_settings)
        for name in self.arguments:
            context = click.Context(main.commands[name], context, name)
        text = context.get_help()
        return [nodes.literal_block(text, text, language="text")]
