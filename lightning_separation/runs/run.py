"""The saved records of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..notebook import as_html
from ..records import Record, save_record, save_run_info
from ..records.record import tidy_table
from ..records.storage import RUN_FILE
from .moments import BEFORE as BEFORE
from .moments import Moment as Moment
from .moments import named as named
from .summary import run_line, run_notes, run_table

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from .comparison import Comparison, Test


def titled(run: Run, what: str) -> str:
    """A title that says of which run something is, if it has a name."""
    return f"{run.name}: {what}" if run.name else what


@dataclass(frozen=True, repr=False)
class Run:
    """All records of one run, in order of training.

    Attributes:
        records: One for each analysed validation, by step.
        info: What ``run.json`` says: layers, classes, sample indices and counts, settings, versions.
        name: What the run is called.
        train: The records of the training data, where the monitor analysed them too.

    Example:
        >>> import numpy as np
        >>> from lightning_separation.records import Findings, Record
        >>> found = [Findings({"mean": ()}, {"fc1": {"mean": i}, "fc2": {"mean": 10 * i}}) for i in range(3)]
        >>> layers, nobody = ["fc1", "fc2"], np.zeros(0, int)
        >>> records = [Record(i, 9 * i, "fit", "val", layers, [], nobody, {"mine": found[i]}) for i in range(3)]
        >>> Run(records).array("mine", "mean")  # [epochs, layers]
        array([[ 0.,  0.],
               [ 1., 10.],
               [ 2., 20.]])
    """

    records: list[Record]
    info: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    train: Run | None = None

    def __repr__(self) -> str:
        return f"Run({run_line(self)})"

    def _repr_html_(self) -> str:
        return as_html("Run", run_line(self), run_table(self), run_notes(self), self.info.get("settings"))

    @property
    def epochs(self) -> list[int]:
        """Epoch of each record."""
        return [record.epoch for record in self.records]

    @property
    def layers(self) -> list[str]:
        """Every layer that a record has, in order of execution."""
        return list(dict.fromkeys(layer for record in self.records for layer in record.layers))

    @property
    def class_names(self) -> list[str]:
        """Every class that a record has."""
        return list(dict.fromkeys(name for record in self.records for name in record.class_names))

    def array(self, analysis: str, quantity: str) -> NDArray:
        """One quantity of all records and layers as one array.

        Args:
            analysis: For example ``"henze_penrose"``.
            quantity: For example ``"divergence"``.

        Returns:
            ``[epochs, layers, ...]`` float64, in the order of ``epochs``, ``layers`` and ``class_names``; NaN where a
            record lacks a layer or a class, or a layer has fewer units than the widest. What is found of all layers
            together (``records.ALL_LAYERS``) is in the records only.

        Raises:
            KeyError: If no record has it; the message lists what there is.
        """
        have = {(a, q): found.axes[q] for r in self.records for a, found in r.findings.items() for q in found.axes}
        places = {layer: i for i, layer in enumerate(self.layers)}
        if (analysis, quantity) not in have:
            raise KeyError(f"no record has {quantity!r} of {analysis!r}; there are {sorted(have)}")
        axes = [part for axis in have[analysis, quantity] for part in (("class",) * 2 if axis == "pair" else (axis,))]
        classes = {name: k for k, name in enumerate(self.class_names)}
        found = {
            (e, places[layer]): (record.class_names, quantities[quantity])
            for e, record in enumerate(self.records)
            for layer, quantities in record.findings.get(analysis, {}).items()
            if quantity in quantities and layer in places
        }
        widest = [max(array.shape[i] for _, array in found.values()) for i in range(len(axes))]
        shape = [len(classes) if axis == "class" else widest[i] for i, axis in enumerate(axes)]
        out = np.full((len(self.records), len(places), *shape), np.nan)
        for place, (names, array) in found.items():
            at = [[classes[n] for n in names] if a == "class" else range(array.shape[i]) for i, a in enumerate(axes)]
            cells: Any = (*place, *np.ix_(*at))
            out[cells] = array
        return out

    @property
    def moments(self) -> dict[Moment, Record]:
        """The records that can be told apart by epoch, in order; ``"before"`` is before the first step.

        Of several in one epoch the one made during the fit, else the last (see ``hidden``). Left out are tests, which
        are of other data, and validations after the fit, which are of the same weights as its last record.
        """
        found = {moment: _standing(records) for moment, records in self._by_moment().items()}
        return dict(sorted(found.items(), key=lambda item: -1 if isinstance(item[0], str) else item[0]))

    @property
    def hidden(self) -> int:
        """How many records of other weights another record of their epoch hides in ``moments``.

        Of several checkpoints of one epoch all but the last are hidden; records of the same step are of the same
        weights.
        """
        return sum(
            one is not _standing(records) and (one.step != _standing(records).step or one.stage == "analyze")
            for records in self._by_moment().values()
            for one in records
        )

    def _by_moment(self) -> dict[Moment, list[Record]]:
        """All records but tests and validations after the fit."""
        fit = [record for record in self.records if record.stage == "fit"]
        after = {(record.epoch + 1, record.step + 1) for record in fit[-1:]}  # how the Trainer counts when it is done
        found: dict[Moment, list[Record]] = {}
        for record in self.records:
            again = record.stage == "validate" and (record.epoch, record.step) in after
            untrained = record.stage == "validate" and record.step == 0
            if record.split != "test" and not again:
                found.setdefault(BEFORE if untrained else record.epoch, []).append(record)
        return found

    def last(self, analysis: str) -> tuple[Moment, Record] | None:
        """The last moment at which an analysis found something, with its record; None: it never did.

        Args:
            analysis: For example ``"henze_penrose"``.
        """
        return next((item for item in reversed(self.moments.items()) if item[1].findings.get(analysis)), None)

    def compare(self, other: Run, test: Test = "jackknife") -> Comparison:
        """How far this run separates the classes better than another, layer by layer and epoch by epoch.

        What the runs share is compared: layers, classes and epochs; without a shared epoch the last record of each, at
        the moment of this run's. What they do not share is said in ``notes``, as is every difference in the number of
        samples, the model or the settings.

        Args:
            other: Another run.
            test: ``"jackknife"`` over classes; ``"fisher"`` or ``"fisher_paired"``, the permutation test of means.

        Raises:
            ValueError: If one has no separation of classes, or they share no layer or no two classes.
        """
        from .compare import compare_runs

        return compare_runs(self, other, test)

    def layer_steps(self, test: Test = "jackknife") -> Comparison:
        """What each layer does to the separation: its own minus that of the layer before, in every epoch.

        Args:
            test: As in :meth:`compare`.

        Raises:
            ValueError: If the run has no separation of classes, or of one layer only.
        """
        from .compare import layer_steps

        return layer_steps(self, test)

    def epoch_steps(self, test: Test = "jackknife") -> Comparison:
        """Which layers still change: the separation in every epoch minus that in the one recorded before.

        Args:
            test: As in :meth:`compare`.

        Raises:
            ValueError: If the run has no separation of classes, or of one epoch only.
        """
        from .compare import epoch_steps

        return epoch_steps(self, test)

    def training_effect(self, test: Test = "jackknife") -> Comparison:
        """What training did since the first record: the separation in the last minus that in the first.

        For all that it did there must be a record from before: ``trainer.validate(model, ...)`` ahead of
        ``trainer.fit(model, ...)``, with the monitor among the callbacks.

        Args:
            test: As in :meth:`compare`.

        Raises:
            ValueError: If the run has no separation of classes, or of one epoch only.
        """
        from .compare import training_effect

        return training_effect(self, test)

    def gap(self, test: Test = "jackknife") -> Comparison:
        """What is learnt by heart: the separation of the training data minus that of the validation data.

        Args:
            test: As in :meth:`compare`.

        Raises:
            ValueError: If there are no records of the training data (``SeparationMonitor(splits=("val", "train"))``).
        """
        from .compare import gap

        return gap(self, test)

    def confusion_forecast(self) -> dict[Moment, dict[str, tuple[float, float]]]:
        """How well low separation of two classes foretold that the network would confuse them at the end.

        Returns:
            By moment and layer the Spearman correlation, over pairs of classes, of low separation then with the share
            of confused samples in the last confusion matrix, and its one-sided p-value by the Mantel test (classes are
            permuted); NaN where nothing, or everything alike, is confused.

        Raises:
            ValueError: If no record has a confusion matrix (analysis ``Confusion``), or separations.
        """
        from .forecast import confusion_forecast

        return confusion_forecast(self)

    def label_suspects(self) -> list[dict[str, Any]]:
        """Samples that lie among other classes: their labels may be wrong, or they are hard. Most suspect first.

        Returns:
            For each its ``index`` in the data, ``label``, ``neighbours`` (the class most of its neighbours in the trees
            have, in the last record that suspects it), ``layers`` (mean share of layers in which all its edges lead to
            other classes, over the epochs), ``epochs`` (number of records in which it is suspect in half of the layers
            or more) and ``records`` (how many there are).

        Raises:
            ValueError: If no record has label suspects (analysis ``LabelSuspects``).
        """
        from .suspects import label_suspects

        return label_suspects(self)

    def save(self, folder: str | Path) -> Path:
        """Write the records as a monitor does: for runs made of :func:`~lightning_separation.analyze` and checkpoints.

        Args:
            folder: Is made if it is not there.

        Returns:
            The folder, for :func:`load_run` and the command line.

        Raises:
            FileExistsError: If there is a run already.
        """
        folder = Path(folder)
        if (folder / RUN_FILE).exists() or any(folder.glob("*.npz")):
            raise FileExistsError(f"{folder} holds a run already")
        info = {name: value for name, value in self.info.items() if name != "schema"}  # records are written as of today
        save_run_info(folder, {"layers": self.layers, "class_names": self.class_names, **info})
        for record in [*self.records, *(self.train.records if self.train else [])]:
            save_record(folder, record)
        return folder

    def to_pandas(self) -> pandas.DataFrame:
        """All records as one tidy table, those of the training data too; see :meth:`.Record.to_pandas`."""
        return tidy_table([*self.records, *(self.train.records if self.train else [])])

    def plot(self, quantity: str = "separation", analysis: str = "henze_penrose", *, kind: str = "depth") -> Figure:
        """A figure of the run.

        Args:
            quantity: With kind ``"depth"``: a quantity without axes, from 0 to 1.
            analysis: The analysis that found it.
            kind: ``"depth"``: a number for each layer against depth, a line for each record; or one of
                ``runs.figures.FIGURES``: ``"epochs"``, ``"curves"``, ``"bands"``, ``"histograms"``, ``"pairs"``,
                ``"bayes_error"``, ``"training_effect"``, ``"layer_steps"``, ``"epoch_steps"``, ``"gap"``,
                ``"forecast"``, ``"confusion"``, ``"components"``.

        Raises:
            KeyError: If no record has what is to be shown.
            ValueError: If the kind is unknown, or the quantity has axes, or values outside of the figure's range.
        """
        from .figures import depth, draw

        return depth(self, quantity, analysis) if kind == "depth" else draw(self, kind)


def _standing(records: list[Record]) -> Record:
    """The one that stands for an epoch."""
    return next((record for record in records if record.stage == "fit"), records[-1])
