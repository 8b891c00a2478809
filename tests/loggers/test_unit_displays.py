"""What is shown of single units, from what real networks make of real classes."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_separation import InputFeatures, Selectivity, Significance, WeightContributions, analyze
from lightning_separation.loggers import displays
from tests.helpers import blobs, loader, mlp


def shown(analysis, network=None, classes=3, name="separation", **settings):
    torch.manual_seed(0)
    network = network or mlp(classes=classes)
    record = analyze(network, loader(blobs(classes)), [analysis], **settings)
    (display,) = displays(record, {}, name).values()
    return record, display


def test_every_tag_carries_another_monitors_name():
    for analysis in (Significance(), Selectivity(), InputFeatures(), WeightContributions()):
        _, display = shown(analysis, name="mine")
        kinds = (display.scalars, display.histograms, display.figures, display.layer_figures, display.tables)
        tags = [tag for kind in kinds for tag in kind]
        assert tags
        assert all(tag.startswith("mine_") for tag in tags)
        figure = next(iter(display.layer_figures.values()))()
        assert "mine: " in " ".join(text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts))


def test_all_figures_can_be_drawn_and_all_histograms_are_finite():
    for classes in (2, 3, 12):
        for analysis in (Significance(), Selectivity(), InputFeatures(), WeightContributions()):
            _, display = shown(analysis, classes=classes)
            for draw in display.layer_figures.values():
                draw().canvas.draw()
            assert all(len(values) and np.isfinite(values).all() for values in display.histograms.values())


def test_the_table_of_layers_counts_and_names_the_strongest():
    record, display = shown(Significance(), class_names=["a", "b", "c"])
    table = display.tables["significance_tables/layers"]
    for row, layer in zip(table.rows, record.layers, strict=True):
        values = record.findings["significance"][layer]
        assert row[:3] == [layer, str(len(values["significant"])), str(values["significant"].sum())]
        best = int(np.nanargmax(np.abs(values["effect_size"])))
        assert row[5].startswith(f"{best} ({record.class_names[values['preferred_class'][best]]}, ")
    assert "rank eta squared" in table.caption
    assert "rank-biserial" in shown(Significance(), classes=2)[1].tables["significance_tables/layers"].caption


def test_a_layer_of_dead_units_is_shown_as_dead():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    nn.init.constant_(network[0].bias, -100)
    _, display = shown(Significance(), network)
    assert display.scalars["dead_fraction/1"] == 1
    assert display.scalars["significant_fraction/1"] == 0
    assert np.isnan(display.scalars["best_effect_size/1"])
    assert "significance_figures/1" not in display.layer_figures
    assert "neg_log10_q/1" not in display.histograms
    assert display.tables["significance_tables/layers"].rows[-1][-2:] == ["100%", "none"]


def test_a_q_of_zero_has_a_finite_logarithm():
    x = torch.cat([torch.randn(200, 1), torch.randn(200, 1) + 1e6])
    record = analyze(nn.Identity(), [(x, torch.arange(400) // 200)], [Significance()], layers=[], samples_per_class=200)
    (display,) = displays(record, {}, "separation").values()
    assert record.findings["significance"]["input"]["q_value"][0] < 1e-60
    assert np.isfinite(display.histograms["neg_log10_q/input"]).all()


def test_selectivity_tables_list_the_most_selective_units_of_each_class():
    record, display = shown(Selectivity())
    values = record.findings["selectivity"]["1"]
    table = display.tables["selectivity_tables/1"]
    assert [int(row[1]) for row in table.rows] == [int((values["preferred_class"] == k).sum()) for k in range(3)]


@pytest.mark.parametrize("classes, figures", [(2, ["1"]), (3, ["0", "1", "2"])])
def test_one_figure_of_contributions_for_each_class_and_one_of_two(classes, figures):
    _, display = shown(WeightContributions(), classes=classes)
    assert list(display.layer_figures) == [f"weight_contributions_figures/{k}" for k in figures]


def test_features_are_named_in_the_tables_of_weights():
    names = [f"value {i}" for i in range(6)]
    torch.manual_seed(0)
    record = analyze(mlp(), loader(blobs()), [InputFeatures(feature_names=names), WeightContributions()])
    features, weights = displays(record, {}, "separation").values()
    assert "value " in features.tables["input_features_tables/1"].rows[0][2]
    assert all("value " in row[3] for row in weights.tables["weight_contributions_tables/0"].rows)
    assert not any("value " in row[3] for row in weights.tables["weight_contributions_tables/3"].rows)


def told(x, y, **settings):
    record = analyze(nn.Identity(), [(x, y)], [Significance()], layers=[], **settings)
    (display,) = displays(record, {}, "separation").values()
    return display.tables["significance_tables/layers"]


def test_of_two_classes_the_sign_of_the_effect_names_the_class():
    torch.manual_seed(0)
    y = torch.arange(80) % 2
    x = torch.randn(80, 2) + torch.stack([2.0 * y, -2.0 * y], 1)
    x[0, 0] = 1000.0  # one healthy outlier: the largest mean is theirs, the larger values are not
    (row,) = told(x, y, class_names=["healthy", "sick"]).rows
    assert "0 (sick, +0." in row[5]
    assert "1 (healthy, -0." in row[5]


def test_with_a_class_too_small_for_tests_the_other_two_are_compared():
    torch.manual_seed(0)
    y = torch.cat([torch.tensor([0, 0]), 1 + torch.arange(60) % 2])
    with pytest.warns(UserWarning, match="left out of tests"):
        table = told(torch.randn(62, 1) + 2.0 * (y == 1).unsqueeze(1), y, class_names=["rare", "high", "low"])
    assert "rank-biserial" in table.caption
    assert table.rows[0][5].startswith("0 (high, -0.")


def test_what_is_shown_of_many_units_is_said():
    network = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3))
    _, display = shown(InputFeatures(max_units=5), network)
    for kind in ("paths/1", "weights/0"):
        figure = display.layer_figures[f"input_features_{kind}"]()
        words = " ".join(text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts))
        assert "5 of 40 units" in words
    assert "input_features_weights/1" not in display.layer_figures
    assert "input_features_weights/2" not in display.layer_figures
