"""How each logger takes histograms, figures, tables and charts; one file for each logger."""

from __future__ import annotations

from typing import Any

from .base import Adapter
from .comet import CometAdapter
from .mlflow import MLflowAdapter
from .tensorboard import TensorBoardAdapter
from .wandb import WandbAdapter

__all__ = ["Adapter", "adapter_for", "register_adapter"]

_ADAPTERS: dict[type | str, type[Adapter]] = {
    "TensorBoardLogger": TensorBoardAdapter,
    "WandbLogger": WandbAdapter,
    "MLFlowLogger": MLflowAdapter,
    "CometLogger": CometAdapter,
}
_KINDS = frozenset({"histograms", "figures", "tables", "dashboard"})


def register_adapter(logger: type | str, adapter: type[Adapter]) -> None:
    r"""Say how a logger takes histograms, figures, tables and a dashboard; what was said before of it is replaced.

    Args:
        logger: The logger's class; or its name, which stands for the classes of that name in both of Lightning's
            packages. Subclasses are meant too, unless they are registered themselves.
        adapter: A subclass of :class:`Adapter`; it is made anew with the logger for each analysis that is shown.

    Raises:
        TypeError: If ``logger`` is neither a class nor a name, or ``adapter`` is no subclass of ``Adapter``.
        ValueError: If the name is none that a class can have, or ``adapter.takes`` names what no adapter can take.

    Example:
        >>> from pytorch_lightning.loggers import CSVLogger
        >>> class Notebook(CSVLogger):
        ...     "Keeps tables, too."
        >>> class NotebookAdapter(Adapter):
        ...     takes = frozenset({"tables"})
        ...     def tables(self, tag, table, step):
        ...         with open(f"{self.logger.log_dir}/tables.md", "a") as file:
        ...             print(f"# {tag}, step {step}", table.to_markdown(), sep="\n", file=file)
        >>> register_adapter(Notebook, NotebookAdapter)
    """
    if not isinstance(logger, (type, str)):
        raise TypeError(f"a logger's class or its name was expected, not {logger!r}")
    if isinstance(logger, str) and not logger.isidentifier():
        raise ValueError(f"{logger!r} is not the name of a class: give it alone, without its module")
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
        raise TypeError(f"a subclass of lightning_separation.loggers.Adapter was expected, not {adapter!r}")
    if isinstance(adapter.takes, str) or not _KINDS.issuperset(adapter.takes):
        raise ValueError(f"{adapter.__name__}.takes is {adapter.takes!r}, but can have only {sorted(_KINDS)}")
    _ADAPTERS[logger] = adapter


def adapter_for(logger: Any) -> Adapter:
    """The adapter of a logger's class or its nearest base, by name: the same classes exist in two packages."""
    known: list[type | str] = [key for base in type(logger).__mro__ for key in (base, base.__name__)]
    return next((_ADAPTERS[key] for key in known if key in _ADAPTERS), Adapter)(logger)
