"""What is shown of information, modules and the importance of features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lightning_separation.loggers import (
    feature_information,
    layer_information,
    modularity,
    permutation_importance,
)
from lightning_separation.records import Findings, Record
from tests.loggers.test_intervention_displays import all_figures, kinds
from tests.plots.test_features import IRIS
from tests.plots.test_henze_penrose import assert_legible, texts, title

LAYERS = ["input", "fc1", "relu", "fc2"]
AXES: dict[str, dict[str, tuple[str, ...]]] = {
    "layer_information": {
        **dict.fromkeys(
            ("entropy", "label_information", "label_excess", "previous_information", "previous_excess"), ("unit",)
        ),
        "edges": ("unit", "edge"),
        **dict.fromkeys(
            ("entropy_mean", "label_excess_mean", "label_entropy", "previous_excess_mean", "pooled_entropy"), ()
        ),
        **dict.fromkeys(("pooled_joint_entropy", "pooled_conditional_entropy", "pooled_information", "outside"), ()),
    },
    "permutation_importance": {
        "importance": ("feature", "repeat"),
        "accuracy": ("feature", "repeat"),
        "output_change": ("feature", "output"),
        "output_std": ("output",),
        **dict.fromkeys(("clean_loss", "clean_accuracy", "objective"), ()),
    },
    "feature_information": {
        "information": ("feature", "example"),
        "excess": ("feature", "example"),
        "example_unit": ("example",),
        "weight_magnitude": ("feature",),
        "feature_mean": ("feature",),
    },
    "modularity": {
        **dict.fromkeys(("modularity", "null_mean", "null_std", "p_value", "num_modules"), ()),
        **dict.fromkeys(("example_unit", "module"), ("example",)),
        "weight": ("example", "example"),
        **dict.fromkeys(("others_alone", "all_over_module", "all_over_others"), ()),
    },
}


def record(classes: int = 2, labels: dict[str, list[str]] | None = None, **findings: dict[str, Any]) -> Record:
    found = {name: Findings(AXES[name], layers, labels) for name, layers in findings.items()}
    return Record(7, 70, "fit", "val", LAYERS, ["cat", "dog"][:classes], np.full(classes, 10), found)


def informed(units: int = 6, *, first: bool = False, classes: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(units)
    entropy, excess = rng.uniform(1, 2, units), rng.uniform(0, 0.4, units)
    found = {"entropy": entropy, "entropy_mean": entropy.mean(), "pooled_entropy": 1.9, "outside": 0.012}
    found["edges"] = np.tile(np.linspace(0, 1, 11), (units, 1))
    if classes:
        found |= {"label_information": excess + 0.05, "label_excess": excess}
        found |= {"label_excess_mean": excess.mean(), "label_entropy": np.log(2)}
    if not first:
        found |= {"previous_information": excess, "previous_excess": excess, "previous_excess_mean": 0.25}
        found |= {"pooled_joint_entropy": 3.0, "pooled_conditional_entropy": 1.5, "pooled_information": 0.4}
    return found


def history(epochs: int = 3, classes: bool = True) -> dict[int | str, dict[str, dict[str, float]]]:
    numbers = {"entropy_mean": {"input": 1.5, "fc1": 1.2}}
    if classes:
        numbers["label_excess_mean"] = {"input": 0.1, "fc1": 0.2}
    return dict.fromkeys(["before training", *range(epochs)], numbers)


def permuted(features: int = 4, outputs: int = 3, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    importance = np.arange(features)[:, None] + rng.uniform(0, 0.5, (features, 10))
    found = {"importance": importance, "accuracy": -importance / 100, "clean_loss": 0.25, "clean_accuracy": 0.9}
    found |= {"output_change": rng.uniform(0, 1, (features, outputs)), "output_std": np.ones(outputs)}
    return {**found, "objective": 0.0, **more}


def told(features: int = 4, units: int = 5, **more: Any) -> dict[str, Any]:
    excess = np.random.default_rng(0).uniform(-0.1, 0.5, (features, units))
    found = {"information": excess + 0.1, "excess": excess, "example_unit": 10 + np.arange(units)}
    weights = np.arange(1.0, features + 1)
    return {**found, "feature_mean": excess.mean(1), "weight_magnitude": weights / weights.sum(), **more}


def parted(units: int = 9, **more: Any) -> dict[str, Any]:
    module = np.arange(units) % 3
    weight = np.float32(0.01 + (module[:, None] == module))
    found = {"modularity": 0.41, "null_mean": 0.01, "null_std": 0.02, "p_value": 0.005, "num_modules": 3.0}
    return {**found, "example_unit": np.arange(units), "module": module, "weight": weight, **more}


COMPARED = {"others_alone": -0.2, "all_over_module": -0.1, "all_over_others": -0.3}
DISPLAYS = {
    "layer_information": layer_information.display,
    "permutation_importance": permutation_importance.display,
    "feature_information": feature_information.display,
    "modularity": modularity.display,
}
FULL: dict[str, dict[str, Any]] = {
    "layer_information": {"input": informed(4, first=True), "fc1": informed(6), "fc2": informed(3)},
    "permutation_importance": {"input": permuted()},
    "feature_information": {"fc1": told(), "fc2": {k: v for k, v in told().items() if k != "weight_magnitude"}},
    "modularity": {"fc1": parted(), "fc2": parted(**COMPARED)},
}
TAGS = {
    "layer_information": {
        *(
            f"{tag}/{layer}"
            for tag in ("layer_entropy", "label_information", "unit_entropy", "unit_label_information")
            for layer in ("input", "fc1", "fc2")
        ),
        *(f"previous_information/{layer}" for layer in ("fc1", "fc2")),
        *(f"layer_information_figures/{figure}" for figure in ("plane", "depth")),
        "layer_information_tables/layers",
    },
    "permutation_importance": {
        *(f"permutation_importance/{i}" for i in range(4)),
        *(f"permutation_importance_figures/{figure}" for figure in ("repeats", "share", "outputs")),
        "permutation_importance_tables/features",
    },
    "feature_information": {
        f"feature_information_{kind}/{layer}" for kind in ("figures", "tables") for layer in ("fc1", "fc2")
    },
    "modularity": {
        *(f"{tag}/{layer}" for tag in ("modularity", "modularity_null") for layer in ("fc1", "fc2")),
        *(f"modularity_figures/{figure}" for figure in ("layers", "fc1", "fc2")),
        "modularity_tables/layers",
    },
}


@pytest.mark.parametrize("analysis", DISPLAYS)
def test_tags_and_the_monitors_name(analysis: str) -> None:
    found = record(**{analysis: FULL[analysis]})
    shown = DISPLAYS[analysis](found, history(), "separation")
    assert {tag for kind in kinds(shown) for tag in kind} == TAGS[analysis]
    named = DISPLAYS[analysis](found, history(), "mine")
    assert {tag for kind in kinds(named) for tag in kind} == {f"mine_{tag}" for tag in TAGS[analysis]}
    for figure in all_figures(named):
        assert_legible(figure)
        assert title(figure).startswith("mine: ")
        assert "epoch 7, val" in title(figure)


@pytest.mark.parametrize("analysis", DISPLAYS)
def test_without_any_value_nothing_breaks(analysis: str) -> None:
    kept = ("example_unit", "module", "objective")
    layers = {
        layer: {name: value if name in kept else np.full(np.shape(value), np.nan) for name, value in values.items()}
        for layer, values in FULL[analysis].items()
    }
    shown = DISPLAYS[analysis](record(**{analysis: layers}), history(), "separation")
    for figure in all_figures(shown):
        assert_legible(figure)
    assert not shown.histograms
    assert not any(np.isfinite(number) for number in shown.scalars.values())
    for table in shown.tables.values():
        assert not any("nan" in cell or "inf" in cell for row in table.rows for cell in row)
        assert all(len(row) == len(table.header) for row in table.rows)


@pytest.mark.parametrize("analysis", DISPLAYS)
def test_any_quantity_may_be_missing(analysis: str) -> None:
    needed = {"importance", "objective", "example_unit", "module"}
    for left_out in sorted(AXES[analysis].keys() - needed):
        layers = {
            layer: {name: value for name, value in values.items() if name != left_out}
            for layer, values in FULL[analysis].items()
        }
        shown = DISPLAYS[analysis](record(**{analysis: layers}), history(), "separation")
        assert all_figures(shown) or left_out == "excess"
        for table in shown.tables.values():
            assert all(len(row) == len(table.header) for row in table.rows), left_out


@pytest.mark.parametrize("analysis", DISPLAYS)
def test_no_layers_no_display(analysis: str) -> None:
    assert not any(kinds(DISPLAYS[analysis](record(**{analysis: {}}), {}, "separation")))


class TestLayerInformation:
    def test_scalars_are_means_and_histograms_what_is_finite(self) -> None:
        values = informed(4)
        values["label_excess"][1] = np.nan
        shown = layer_information.display(record(layer_information={"fc1": values}), history(), "separation")
        assert shown.scalars == {
            "layer_entropy/fc1": values["entropy_mean"],
            "label_information/fc1": values["label_excess_mean"],
            "previous_information/fc1": 0.25,
        }
        assert shown.histograms["unit_label_information/fc1"].tolist() == values["label_excess"][[0, 2, 3]].tolist()

    def test_without_classes_entropy_over_the_epochs_takes_the_planes_place(self) -> None:
        layers = {layer: informed(5, classes=False, first=layer == "input") for layer in ("input", "fc1")}
        shown = layer_information.display(record(0, layer_information=layers), history(classes=False), "separation")
        assert set(shown.figures) == {"layer_information_figures/entropy", "layer_information_figures/depth"}
        figure = shown.figures["layer_information_figures/entropy"]()
        assert texts(figure, "layer") == ["input", "fc1"]
        assert "with the classes" not in texts(shown.figures["layer_information_figures/depth"](), "head")
        table = shown.tables["layer_information_tables/layers"]
        assert not any("classes" in text for text in (*table.header, table.caption))

    def test_the_plane_shows_the_epochs_so_far(self) -> None:
        shown = layer_information.display(record(layer_information=FULL["layer_information"]), history(5), "separation")
        figure = shown.figures["layer_information_figures/plane"]()
        assert texts(figure, "legend") == ["first: before training", "last: epoch 4"]
        assert texts(figure, "layer") == ["fc1", "input"] or texts(figure, "layer") == ["input", "fc1"]

    def test_layers_stand_in_order_of_execution_and_the_table_tells_them(self) -> None:
        values = informed(3) | {"label_excess": np.array([0.1, np.nan, 0.3]), "label_excess_mean": 0.2}
        values |= {"entropy_mean": 1.25}
        layers = {"fc1": values, "input": informed(2, first=True)}
        table = layer_information.display(record(layer_information=layers), history(), "separation").tables[
            "layer_information_tables/layers"
        ]
        assert [row[0] for row in table.rows] == ["input", "fc1"]
        assert table.rows[1] == ["fc1", "3", "1.25", "0.25", "0.2", "2 (0.3)", "1.9", "1.5", "0.4", "1.2%"]
        assert table.rows[0][3] == table.rows[0][7] == table.rows[0][8] == "–"
        assert "H(classes) = 0.693 nats" in table.caption


class TestPermutationImportance:
    def display(self, values: dict[str, Any], classes: int = 2, **labels: list[str]):
        return permutation_importance.display(
            record(classes, labels, permutation_importance={"input": values}), {}, "separation"
        )

    def test_features_and_outputs_have_their_names(self) -> None:
        shown = self.display(permuted(), feature=IRIS, output=["x", "y", "z"])
        assert shown.scalars.keys() == {f"permutation_importance/{name}" for name in IRIS}
        assert shown.scalars[f"permutation_importance/{IRIS[3]}"] == pytest.approx(permuted()["importance"][3].mean())
        figure = shown.figures["permutation_importance_figures/outputs"]()
        assert texts(figure, "column") == ["x", "y", "z"]
        assert texts(figure, "row") == IRIS
        assert texts(shown.figures["permutation_importance_figures/share"](), "row") == IRIS[::-1]

    def test_outputs_without_names_are_numbers(self) -> None:
        shown = self.display(permuted(outputs=2), feature=IRIS)
        assert texts(shown.figures["permutation_importance_figures/outputs"](), "column") == ["0", "1"]

    @pytest.mark.parametrize(
        "objective, accuracy, scale",
        [
            (0.0, 0.9, "increase of the cross-entropy, nats"),
            (1.0, np.nan, "increase of the mean squared error"),
            (1.0, 0.9, "increase of the cross-entropy, nats"),  # of answers yes or no
            (2.0, np.nan, "increase of the reconstruction error, percentage points"),
        ],
    )
    def test_the_objective_names_the_scale(self, objective: float, accuracy: float, scale: str) -> None:
        values = permuted(objective=objective, clean_accuracy=np.array(accuracy))
        figure = self.display(values).figures["permutation_importance_figures/repeats"]()
        assert texts(figure, "across") == [scale]
        assert texts(figure, "row") == ["3", "2", "1", "0"]

    def test_outputs_move_in_their_standard_deviations(self) -> None:
        values = permuted(outputs=2, output_change=np.full((4, 2), 0.5), output_std=np.array([2.0, 0.0]))
        shown = self.display(values, output=["cat", "dog"])
        image = shown.figures["permutation_importance_figures/outputs"]().axes[0].images[0].get_array()
        np.testing.assert_array_equal(image[:, 0], 0.25)
        assert np.ma.getmaskarray(image)[:, 1].all()
        assert shown.tables["permutation_importance_tables/features"].rows[0][-1] == "cat (0.25)"

    def test_of_many_features_no_scalars(self) -> None:
        assert len(self.display(permuted(30)).scalars) == 30
        shown = self.display(permuted(31))
        assert not shown.scalars
        assert "the 30 of 31 features" in title(shown.figures["permutation_importance_figures/repeats"]())
        table = shown.tables["permutation_importance_tables/features"]
        assert len(table.rows) == 30
        assert "30 of 31" in table.caption

    def test_the_table_tells_the_spread(self) -> None:
        importance = np.array([[0.1, 0.3], [1.0, 2.0]])
        values = {"importance": importance, "objective": 2.0, "clean_loss": 12.5}
        table = self.display(values, feature=["age", "pulse"]).tables["permutation_importance_tables/features"]
        assert table.header[1] == "increase of the reconstruction error (percentage points)"
        assert table.rows == [
            ["pulse", "+1.5", "0.71", "+1", "+2"],
            ["age", "+0.2", "0.14", "+0.1", "+0.3"],
        ]
        assert "over 2 repeats" in table.caption
        assert "reconstruction error 12.5%." in table.caption
        table = self.display(permuted()).tables["permutation_importance_tables/features"]
        assert table.rows[0][5] == f"−{100 * permuted()['importance'][3].mean() / 100:.1f}"
        assert "cross-entropy 0.25, accuracy 90.0%" in table.caption


class TestFeatureInformation:
    def test_figure_and_table_stand_in_one_order(self) -> None:
        values = told(feature_mean=np.array([0.1, 0.3, np.nan, 0.2]))
        values["excess"][1] = [0.1, 0.9, 0.2, np.nan, 0.3]
        found = record(labels={"feature": IRIS}, feature_information={"fc1": values})
        shown = feature_information.display(found, {}, "separation")
        figure = shown.layer_figures["feature_information_figures/fc1"]()
        order = [IRIS[i] for i in (1, 3, 0, 2)]
        assert texts(figure, "row") == order
        assert texts(figure, "column") == ["10", "11", "12", "13", "14"]
        assert texts(figure, "head") == ["mean information", "weights"]
        table = shown.tables["feature_information_tables/fc1"]
        assert [row[0] for row in table.rows] == order
        assert table.rows[0] == [IRIS[1], "0.3", "20.0%", "3", "11 (0.9)"]

    def test_without_weights_there_are_none(self) -> None:
        shown = feature_information.display(record(feature_information=FULL["feature_information"]), {}, "separation")
        assert texts(shown.layer_figures["feature_information_figures/fc2"](), "head") == ["mean information"]
        table = shown.tables["feature_information_tables/fc2"]
        assert table.header == ["feature", "mean information (nats)", "unit that tells most"]
        assert "weights" not in table.caption.lower()

    def test_without_units_nothing_is_shown(self) -> None:
        values = {"excess": np.empty((4, 0)), "example_unit": np.empty(0, int)}
        assert not any(kinds(feature_information.display(record(feature_information={"fc1": values}), {}, "mine")))


class TestModularity:
    def test_the_figure_tells_chance(self) -> None:
        shown = modularity.display(
            record(modularity={"fc2": parted(num_modules=1.0), "fc1": parted()}), {}, "separation"
        )
        figure = shown.figures["modularity_figures/layers"]()
        assert texts(figure, "row") == ["fc1", "fc2"]
        assert texts(figure, "text") == ["3 modules, p = 0.005", "1 module, p = 0.005"]
        figure = shown.layer_figures["modularity_figures/fc1"]()
        assert "Q = 0.41" in title(figure)
        assert texts(figure, "row") == ["0", "3", "6", "1", "4", "7", "2", "5", "8"]

    def test_the_table_compares_modules_where_there_is_a_layer_before(self) -> None:
        table = modularity.display(record(modularity=FULL["modularity"]), {}, "separation").tables[
            "modularity_tables/layers"
        ]
        assert table.header[-3:] == ["others alone", "all over module", "all over others"]
        row = ["0.41", "0.01 ± 0.02", "0.005", "3", "3, 3, 3"]
        assert table.rows == [["fc1", *row, "–", "–", "–"], ["fc2", *row, "−0.2", "−0.1", "−0.3"]]
        alone = modularity.display(record(modularity={"fc1": parted()}), {}, "separation").tables[
            "modularity_tables/layers"
        ]
        assert len(alone.header) == 6
        assert "H(P" not in alone.caption

    def test_of_many_modules_only_the_largest_sizes(self) -> None:
        values = parted(40, module=np.repeat(np.arange(20), 2))
        table = modularity.display(record(modularity={"fc1": values}), {}, "separation").tables[
            "modularity_tables/layers"
        ]
        assert table.rows[0][-1] == "2, 2, 2, 2, 2, 2, …"
