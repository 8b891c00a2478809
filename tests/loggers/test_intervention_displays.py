"""What is shown of units, groups and directions that are removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from lightning_separation import GroupAblation, NextLayerEffect, analyze
from lightning_separation.loggers import (
    Display,
    ablation,
    direction_ablation,
    displays,
    group_ablation,
    next_layer_effect,
)
from lightning_separation.records import Findings, Record
from tests.helpers import blobs, loader
from tests.plots.test_henze_penrose import assert_legible, texts, title

LAYERS = ["input", "fc1", "relu", "fc2"]
UNIT = dict.fromkeys(("loss", "accuracy", "kl", "entropy", "exact"), ("unit",))
CLEAN = dict.fromkeys(("clean_loss", "clean_accuracy", "clean_entropy", "max_loss", "exact_fraction", "is_output"), ())
TESTED = dict.fromkeys(("effect_size", "significant", "preferred_class", "dead"), ("unit",))
BEHIND = (
    "follower", "separation", "separation_without_significant", "separation_without_others",
    "shift_without_significant", "shift_without_others", "significant_fraction",
    "significant_fraction_without_significant", "significant_fraction_without_others",
)  # fmt: skip


def record(**findings: Findings) -> Record:
    return Record(7, 70, "fit", "val", LAYERS, ["cat", "dog"], np.array([10, 10]), findings)


def ablated(units: int = 9, seed: int = 0, **values: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    loss = rng.normal(0.1, 0.1, units)
    exact = np.ones(units, bool)
    numbers = {"clean_loss": 0.5, "clean_accuracy": 0.9, "clean_entropy": 0.3, "exact_fraction": 1.0}
    found = {"loss": loss, "accuracy": -loss / 2, "kl": np.abs(loss), "entropy": loss, "exact": exact, **numbers}
    found |= values
    return {"max_loss": np.max(found["loss"], initial=-np.inf), **found}


def found_by_tests(units: int = 9, seed: int = 0, **values: Any) -> dict[str, Any]:
    effect = np.random.default_rng(seed).uniform(-1, 1, units)
    found = {"effect_size": effect, "significant": np.abs(effect) > 0.3, "preferred_class": (effect > 0).astype(int)}
    return {**found, "dead": np.zeros(units, bool), **values}


def removed(**layers: dict[str, Any]) -> Findings:
    return Findings({**UNIT, **CLEAN}, layers)


def significance(**layers: dict[str, Any]) -> Findings:
    return Findings(TESTED, layers)


def groups(*layers: str) -> Findings:
    axes = dict.fromkeys(("accuracy_without_significant", "accuracy_without_others"), ("repeat",))
    numbers = {"clean_accuracy": 0.9, "difference": 0.325, "difference_std": 0.05, "removed_significant": 4}
    numbers |= {"removed_others": 4, "significant_units": 5, "other_units": 11, "dead_others": 7}
    values = {
        "accuracy_without_significant": np.array([0.5, 0.55]),
        "accuracy_without_others": np.array([0.8, 0.9]),
        **numbers,
    }
    return Findings({**axes, **dict.fromkeys(numbers, ())}, dict.fromkeys(layers, values))


def directions(**layers: dict[str, Any]) -> Findings:
    axes = dict.fromkeys(("kl", "loss", "accuracy", "entropy", "kind"), ("direction",))
    axes |= {"vector": ("direction", "unit"), **dict.fromkeys(("max_kl", "clean_loss", "clean_accuracy"), ())}
    return Findings(axes, layers)


def directed(kl: list[float], kind: list[int]) -> dict[str, Any]:
    zeros = np.zeros(len(kl))
    found = {"kl": np.array(kl), "kind": np.array(kind), "loss": zeros, "accuracy": zeros, "entropy": zeros}
    return {**found, "vector": np.zeros((len(kl), 3)), "max_kl": max(kl, default=np.nan), "clean_loss": 0.5}


def behind(**layers: dict[str, Any]) -> Findings:
    return Findings({**dict.fromkeys(BEHIND, ("follower",)), "removed_units": ()}, layers)


def effects(followers: list[int]) -> dict[str, Any]:
    num = len(followers)
    levels = {"separation": 0.9, "separation_without_significant": 0.6, "separation_without_others": 0.95}
    found = {name: np.full(num, levels.get(name, 0.25)) for name in BEHIND}
    found["separation_without_significant"] = found["separation_without_significant"] - 0.1 * np.arange(num)
    return {**found, "follower": np.array(followers, int), "removed_units": 4}


def full() -> Record:
    return record(
        ablation=removed(fc1=ablated(), relu=ablated(seed=1), fc2=ablated(4)),
        significance=significance(input=found_by_tests(), fc1=found_by_tests(), relu=found_by_tests(seed=2)),
        group_ablation=groups("fc1", "relu", "*"),
        direction_ablation=directions(fc1=directed([0.1, 0.4, 0.2, 0.3, 0.9], [0, 0, 1, 1, 4])),
        next_layer_effect=behind(fc1=effects([2, 3]), relu=effects([3]), fc2=effects([])),
    )


INTERVENTIONS = {
    "ablation": ablation.display,
    "group_ablation": group_ablation.display,
    "direction_ablation": direction_ablation.display,
    "next_layer_effect": next_layer_effect.display,
}
TAGS = {
    "ablation": {
        *(f"{kind}/{layer}" for kind in ("ablation_max_loss", "ablation_loss") for layer in LAYERS[1:]),
        *(f"ablation_figures/{layer}" for layer in LAYERS[1:]),
        *(f"ablation_tables/{table}" for table in ("most_needed", "layers", "selective_or_used")),
        "ablation_figures/effect_size_by_loss",
    },
    "group_ablation": {
        *(f"group_ablation_difference/{layer}" for layer in ("fc1", "relu", "all_layers")),
        "group_ablation_figures/accuracy",
        "group_ablation_tables/groups",
    },
    "direction_ablation": {
        "direction_max_kl/fc1", "direction_kl/fc1", "direction_figures/kl", "direction_tables/strongest",
    },
    "next_layer_effect": {
        *(f"{kind}/{layer}" for kind in ("next_layer_separation", "next_layer_shift") for layer in ("fc1", "relu")),
        *(f"next_layer_figures/{value}" for value in ("separation", "shift")),
        "next_layer_tables/effects",
    },
}  # fmt: skip


def kinds(shown: Display) -> tuple[dict, ...]:
    return shown.scalars, shown.histograms, shown.figures, shown.layer_figures, shown.tables


def all_figures(shown: Display) -> list[Figure]:
    return [draw() for draw in (*shown.figures.values(), *shown.layer_figures.values())]


@pytest.mark.parametrize("analysis", INTERVENTIONS)
def test_tags_and_the_monitors_name(analysis: str) -> None:
    shown = INTERVENTIONS[analysis](full(), {}, "separation")
    assert {tag for kind in kinds(shown) for tag in kind} == TAGS[analysis]
    named = INTERVENTIONS[analysis](full(), {}, "mine")
    assert {tag for kind in kinds(named) for tag in kind} == {f"mine_{tag}" for tag in TAGS[analysis]}
    for figure in all_figures(named):
        assert title(figure).startswith("mine: ")
        assert "epoch 7, val" in title(figure)


@pytest.mark.parametrize("analysis", INTERVENTIONS)
def test_displays_knows_them(analysis: str) -> None:
    found = full()
    del found.findings["significance"]
    assert displays(found, {}, "separation")[analysis].tables


@pytest.mark.parametrize("analysis", INTERVENTIONS)
def test_all_figures_are_legible(analysis: str) -> None:
    for figure in all_figures(INTERVENTIONS[analysis](full(), {}, "separation")):
        assert_legible(figure)


@pytest.mark.parametrize("units", [0, 1, 9])
def test_without_any_value_nothing_breaks(units: int) -> None:
    nothing = np.full(units, np.nan)
    quantities = dict.fromkeys(("loss", "accuracy", "kl", "entropy"), nothing)
    numbers = dict.fromkeys(("clean_loss", "clean_accuracy", "max_loss", "exact_fraction"), np.nan)
    shift = {name: np.full(2, np.nan) for name in BEHIND}
    found = record(
        ablation=removed(fc1=ablated(units, **quantities, **numbers)),
        significance=significance(fc1=found_by_tests(units, effect_size=nothing)),
        group_ablation=Findings(
            groups("fc1").axes,
            {"*": {q: np.full(units, np.nan) if axes else 0.0 for q, axes in groups("fc1").axes.items()}},
        ),
        direction_ablation=directions(fc1=directed([np.nan] * units, [0] * units)),
        next_layer_effect=behind(fc1={**shift, "follower": np.array([2, 3]), "removed_units": 0}),
    )
    for analysis, display in INTERVENTIONS.items():
        shown = display(found, {}, "separation")
        for figure in all_figures(shown):
            assert_legible(figure)
        assert not shown.histograms, analysis
        assert all(table.to_markdown() for table in shown.tables.values())
        assert not any("nan" in cell or "inf" in cell for t in shown.tables.values() for row in t.rows for cell in row)


@pytest.mark.parametrize("analysis", INTERVENTIONS)
def test_no_layers_no_display(analysis: str) -> None:
    found = record(
        ablation=removed(),
        group_ablation=groups(),
        direction_ablation=directions(),
        next_layer_effect=behind(),
    )
    assert not any(kinds(INTERVENTIONS[analysis](found, {}, "separation")))


class TestAblation:
    def test_scalar_and_histogram(self) -> None:
        values = ablated(loss=np.array([0.3, np.nan, -0.1, np.inf]), exact=np.ones(4, bool), max_loss=0.3)
        shown = ablation.display(record(ablation=removed(fc1=values)), {}, "separation")
        assert shown.scalars == {"ablation_max_loss/fc1": 0.3}
        assert shown.histograms["ablation_loss/fc1"].tolist() == [0.3, -0.1]

    def test_without_significance_there_is_no_comparison(self) -> None:
        one, other = record(ablation=removed(fc1=ablated())), full()
        other.findings["significance"] = significance(input=found_by_tests())
        for found in (one, other):
            shown = ablation.display(found, {}, "separation")
            assert not shown.figures
            assert set(shown.tables) == {"ablation_tables/most_needed", "ablation_tables/layers"}
            assert "effect size" not in shown.tables["ablation_tables/most_needed"].header

    def test_a_layer_whose_units_are_others_is_not_compared(self) -> None:
        found = record(ablation=removed(fc1=ablated(9)), significance=significance(fc1=found_by_tests(5)))
        assert not ablation.display(found, {}, "separation").figures

    def test_the_outputs_of_the_network_are_not_among_the_most_needed(self) -> None:
        layers = {"fc1": ablated(seed=1), "fc2": ablated(seed=2, is_output=1.0)}
        tests = Findings(TESTED, {layer: found_by_tests() for layer in layers})
        shown = ablation.display(record(ablation=removed(**layers), significance=tests), {}, "separation")
        for table in ("most_needed", "selective_or_used"):
            assert {row[0] for row in shown.tables[f"ablation_tables/{table}"].rows} == {"fc1"}
        assert texts(shown.figures["ablation_figures/effect_size_by_loss"](), "panel") == ["fc1"]
        assert [row[0] for row in shown.tables["ablation_tables/layers"].rows] == ["fc1", "fc2"]

    def test_the_most_needed_units_of_all_layers(self) -> None:
        one = ablated(loss=np.array([0.1, 0.5, -0.2]), exact=np.array([True, True, True]), units=3)
        other = ablated(loss=np.array([0.4, np.nan]), exact=np.array([False, False]), units=2)
        other |= {"accuracy": np.full(2, np.nan), "kl": np.full(2, np.nan)}
        effect = found_by_tests(3, effect_size=np.array([0.2, -0.75, 0.1]), preferred_class=np.array([0, 1, -1]))
        found = record(ablation=removed(fc2=other, fc1=one), significance=significance(fc1=effect))
        table = ablation.display(found, {}, "separation").tables["ablation_tables/most_needed"]
        assert [row[:4] + row[5:] for row in table.rows] == [
            ["fc1", "1", "+0.5", "−" + f"{100 * abs(one['accuracy'][1]):.1f}", "exact", "−0.75", "dog"],
            ["fc2", "0", "+0.4", "–", "estimate", "–", "–"],
            ["fc1", "0", "+0.1", table.rows[2][3], "exact", "+0.20", "cat"],
        ]

    def test_a_layer_and_the_relu_behind_it_that_lose_the_same_share_a_row(self) -> None:
        tests = {"fc1": found_by_tests(), "relu": found_by_tests(seed=5)}
        found = record(ablation=removed(relu=ablated(), fc1=ablated()), significance=significance(**tests))
        rows = ablation.display(found, {}, "separation").tables["ablation_tables/most_needed"].rows
        loss = found.findings["ablation"]["fc1"]["loss"]
        assert [row[0] for row in rows] == ["fc1, relu"] * int((loss > 0).sum())
        assert rows[0][6] == f"{tests['fc1']['effect_size'][loss.argmax()]:+.2f}".replace("-", "−")

    def test_ten_units_at_most(self) -> None:
        found = record(ablation=removed(fc1=ablated(40), relu=ablated(40, seed=1)))
        rows = ablation.display(found, {}, "separation").tables["ablation_tables/most_needed"].rows
        assert len(rows) == 10
        changes = [float(row[2]) for row in rows]
        assert changes == sorted(changes, reverse=True)
        every = np.concatenate([found.findings["ablation"][layer]["loss"] for layer in ("fc1", "relu")])
        assert changes[-1] == pytest.approx(np.sort(every)[-10], rel=0.01)

    def test_the_table_of_layers(self) -> None:
        loss = np.array([0.001, -0.004, 0.006, 0.5, np.nan])
        values = ablated(5, loss=loss, clean_loss=0.5, exact_fraction=0.8)
        table = ablation.display(record(ablation=removed(fc1=values)), {}, "separation").tables[
            "ablation_tables/layers"
        ]
        assert table.rows == [["fc1", "5", "80%", "0.5", "3", "+0.5", "50%", "1"]]

    def test_only_exact_and_alive_units_are_compared(self) -> None:
        exact, dead = np.arange(9) > 0, np.arange(9) == 1
        found = record(
            ablation=removed(fc1=ablated(exact=exact)), significance=significance(fc1=found_by_tests(dead=dead))
        )
        shown = ablation.display(found, {}, "separation")
        assert shown.tables["ablation_tables/selective_or_used"].rows[0][2].endswith(" of 7")
        figure = shown.figures["ablation_figures/effect_size_by_loss"]()
        assert texts(figure, "note")[0].endswith(" of 7")

    def test_the_table_names_the_units_that_the_figure_numbers(self) -> None:
        effect = np.array([0.9, -0.8, 0.7, 0.5, 0.4, -0.3, 0.2, 0.1, 0.0])
        loss = np.array([0.5, 0.001, -0.9, 0.1, -0.2, 0.05, 0.6, -0.7, 0.02])
        tests = found_by_tests(effect_size=effect, significant=np.ones(9, bool))
        found = record(
            ablation=removed(fc1=ablated(loss=loss), fc2=ablated(4)),
            significance=significance(fc1=tests, fc2=found_by_tests(4)),
        )
        shown = ablation.display(found, {}, "separation")
        assert shown.tables["ablation_tables/selective_or_used"].rows == [
            ["fc1", "selective but unused", "1 of 9", "1 (−0.80, +0.001)"],
            ["fc1", "used but unselective", "1 of 9", "6 (+0.20, +0.6)"],
            ["fc2", "too few to tell", "4", "–"],
        ]
        caption = shown.tables["ablation_tables/selective_or_used"].caption
        assert "change of the loss, with at most 10% of the largest" in caption
        assert "effect size, with at most 50% of the largest" in caption
        figure = shown.figures["ablation_figures/effect_size_by_loss"]()
        assert texts(figure, "unit") == ["1", "6"]
        assert texts(figure, "panel") == ["fc1", "fc2"]

    def test_the_figure_of_a_layer_says_how_the_whole_network_does(self) -> None:
        found = record(ablation=removed(fc1=ablated(), fc2=ablated(clean_accuracy=np.nan)))
        figures = ablation.display(found, {}, "separation").layer_figures
        first, second = (title(figures[f"ablation_figures/{layer}"]()) for layer in ("fc1", "fc2"))
        assert first.endswith("with all units: cross-entropy 0.5, accuracy 90.0%")
        assert second.endswith("with all units: cross-entropy 0.5")


class TestGroupAblation:
    def test_all_layers_come_last_by_their_name(self) -> None:
        shown = group_ablation.display(record(group_ablation=groups("*", "relu", "fc1")), {}, "separation")
        assert shown.scalars["group_ablation_difference/all_layers"] == 0.325
        assert texts(shown.figures["group_ablation_figures/accuracy"](), "row") == ["fc1", "relu", "all layers"]
        table = shown.tables["group_ablation_tables/groups"]
        assert table.header[3] == "others that are dead"
        row = ["4 of 5", "4 of 11", "7 of 11", "90.0%", "52.5%", "85.0%", "+32.5 ± 5.0"]
        assert table.rows == [[layer, *row] for layer in ("fc1", "relu", "all layers")]
        assert "2 times" in table.caption

    def test_unequal_numbers_are_not_called_equal(self) -> None:
        found = groups("fc1")
        layers = {"fc1": {**found["fc1"], "removed_others": np.array(9)}}
        shown = group_ablation.display(record(group_ablation=Findings(found.axes, layers)), {}, "separation")
        legend = texts(shown.figures["group_ablation_figures/accuracy"](), "legend")
        assert legend == ["without significant units", "without others", "with all units"]
        assert "as many" not in shown.tables["group_ablation_tables/groups"].caption

    def test_what_the_analyses_of_groups_find_can_be_shown(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 3))
        found = analyze(network, loader(blobs(3, 40, spread=6.0)), [GroupAblation(repeats=2), NextLayerEffect()])
        first, second = displays(found, {}, "separation").values()
        assert {"group_ablation_difference/0", "group_ablation_difference/all_layers"} <= first.scalars.keys()
        assert "next_layer_shift/0" in second.scalars
        for figure in (*all_figures(first), *all_figures(second)):
            assert_legible(figure)
        rows = first.tables["group_ablation_tables/groups"].rows
        dead = [int(row[3].split()[0]) for row in rows]
        assert dead[-1] == sum(dead[:-1])


class TestDirectionAblation:
    def test_the_best_of_each_kind(self) -> None:
        kl = [0.1, 0.4, 0.2, 0.3, 0.9, np.nan]
        found = record(
            direction_ablation=directions(fc1=directed(kl, [0, 0, 1, 1, 4, 0]), fc2=directed([0.5], [2])),
            ablation=removed(fc1=ablated(3, kl=np.array([0.1, 0.25, np.nan]))),
        )
        shown = direction_ablation.display(found, {}, "separation")
        assert shown.histograms["direction_kl/fc1"].tolist() == kl[:5]
        table = shown.tables["direction_tables/strongest"]
        assert table.header[1:] == [
            "best random", "best principal component", "best difference of class means", "found by search",
            "best single unit",
        ]  # fmt: skip
        assert table.rows == [
            ["fc1", "0.4 (of 3)", "0.3 (component 2 of 2)", "–", "0.9", "0.25 (unit 1)"],
            ["fc2", "–", "–", "0.5 (of 1)", "–", "–"],
        ]
        figure = shown.figures["direction_figures/kl"]()
        assert "best single unit" in texts(figure, "legend")
        assert texts(figure, "note") == ["strongest 0.9, 3.6 × the best unit", "strongest 0.5"]

    def test_without_ablation_no_unit_is_shown(self) -> None:
        found = record(direction_ablation=directions(fc1=directed([0.1], [0])))
        shown = direction_ablation.display(found, {}, "separation")
        assert shown.tables["direction_tables/strongest"].header == ["layer", "best random"]
        assert texts(shown.figures["direction_figures/kl"](), "legend") == ["random"]


class TestNextLayerEffect:
    def test_scalars_are_of_the_next_layer(self) -> None:
        shown = next_layer_effect.display(full(), {}, "separation")
        assert shown.scalars["next_layer_separation/fc1"] == pytest.approx(-0.3)
        assert shown.scalars["next_layer_shift/fc1"] == 0.25

    def test_the_figure_shows_every_layer_behind(self) -> None:
        figure = next_layer_effect.display(full(), {}, "separation").figures["next_layer_figures/separation"]()
        assert texts(figure, "row") == ["fc1", "relu"]
        assert texts(figure, "column") == ["relu", "fc2"] * 2
        assert texts(figure, "value") == ["−0.30", "−0.40", "−0.30", "0.05", "0.05", "0.05"]

    def test_another_figure_shows_how_far_its_units_move(self) -> None:
        figure = next_layer_effect.display(full(), {}, "separation").figures["next_layer_figures/shift"]()
        assert texts(figure, "row") == ["fc1", "relu"]
        assert texts(figure, "value") == ["0.25"] * 6
        assert [text.get_text() for text in figure.axes[1].texts[:2]] == ["0", "≥ 0.5"]

    def test_the_table_names_the_layer_that_loses_most(self) -> None:
        table = next_layer_effect.display(full(), {}, "separation").tables["next_layer_tables/effects"]
        shares = "25% / 25% / 25%"
        numbers = ["0.900", "−0.300, shift 0.25", "+0.050, shift 0.25", shares]
        assert table.rows == [
            ["fc1", "4", "relu", *numbers, "fc2 (−0.400)"],
            ["relu", "4", "fc2", *numbers, "fc2 (−0.300)"],
        ]
