"""The choice of the test, unit by unit, against the plain rule in SciPy; and what all tests refuse or leave alone."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_separation import functional
from lightning_separation.functional import (
    TEST_NAMES,
    brown_forsythe,
    class_selectivity,
    hedges_g,
    kruskal_wallis,
    mann_whitney_u,
    neuron_significance,
    omega_squared,
    rank_biserial,
    rank_eta_squared,
    roc_auc,
    shapiro_wilk,
    welch_anova,
    welch_t_test,
)
from lightning_separation.functional._neurons import sample_of_classes
from lightning_separation.functional.k_sample import brown_forsythe_of
from lightning_separation.functional.neuron_significance import significance
from lightning_separation.functional.shapiro_wilk import class_normality, pooled_normality

from .activations import assert_uniform, classes_of, layer


def plain_rule(x, y):
    """The rule, one unit at a time: statistic, p, effect and name of the test."""
    classes = classes_of(x, y)
    total, k = len(x), len(classes)
    for i in range(x.shape[1]):
        samples = [c[:, i] for c in classes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            normal = all(stats.shapiro(s).pvalue > 0.05 for s in samples)
            if k == 2:
                u = stats.mannwhitneyu(samples[1], samples[0], method="asymptotic")
                effect = 2 * u.statistic / (len(samples[0]) * len(samples[1])) - 1
                t = stats.ttest_ind(samples[1], samples[0], equal_var=False)
                name, found = ("welch_t", t) if normal else ("mann_whitney_u", u)
            else:
                h = stats.kruskal(*samples)
                effect = (h.statistic - k + 1) / (total - k)
                if normal and all(np.ptp(s) > 0 for s in samples):
                    name, found = "welch_anova", stats.f_oneway(*samples, equal_var=False)
                else:
                    name, found = "kruskal_wallis", h
        yield found.statistic, found.pvalue, effect, name


@pytest.mark.parametrize("sizes", [(9, 9), (40, 25), (3, 3, 3), (12, 30, 12), (15,) * 10], ids=str)
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_plain_rule(sizes, shift):
    if len(sizes) > 2 and "equal_var" not in stats.f_oneway.__doc__:
        pytest.skip("SciPy has Welch's analysis of variance since 1.16")
    x, y = layer(sizes, shift=shift, units=40, seed=len(sizes))
    x[:, 3] = 0.1
    x[y == 4, 7] = 0.25  # one constant class
    x[:, 11] = (y == 7).float()
    found = neuron_significance(x, y)
    statistic, p_value, effect, names = zip(*plain_rule(x, y), strict=True)
    assert [TEST_NAMES[t] for t in found.test] == list(names)
    assert len(set(names)) == 2
    np.testing.assert_allclose(found.statistic, statistic, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.p_value, p_value, rtol=1e-7)
    np.testing.assert_allclose(found.effect_size, effect, rtol=1e-7, atol=1e-12)
    p_value = np.array(p_value)
    tested = ~np.isnan(p_value)
    q_value = stats.false_discovery_control(p_value[tested])
    np.testing.assert_allclose(found.q_value[tested], q_value, rtol=1e-7)
    assert found.significant[tested].tolist() == (q_value < 0.05).tolist()
    assert not found.significant[3]
    assert found.test.dtype == torch.int64
    assert found.significant.dtype == torch.bool


def test_names_and_fields():
    assert TEST_NAMES == ("welch_t", "mann_whitney_u", "welch_anova", "kruskal_wallis")
    fields = ("statistic", "p_value", "q_value", "effect_size", "significant", "test")
    assert neuron_significance(*layer((5, 5)))._fields == fields


def test_positive_where_the_larger_label_is_larger():
    x, y = layer((30, 25), shift=1.0, kind="normal")
    x = torch.cat([x, x.exp()], 1)
    found, swapped = neuron_significance(x, y), neuron_significance(x, -y)
    assert set(found.test.tolist()) == {0, 1}
    assert (found.effect_size > 0.3).all()
    welch = found.test == 0
    assert (found.statistic[welch] > 0).all()
    torch.testing.assert_close(swapped.statistic[welch], -found.statistic[welch])
    torch.testing.assert_close(swapped.statistic[~welch], 30 * 25 - found.statistic[~welch])
    torch.testing.assert_close(swapped.effect_size, -found.effect_size)
    torch.testing.assert_close(swapped.p_value, found.p_value)


def test_alpha():
    x, y = layer((30, 25), shift=0.5, units=60)
    found, strict = neuron_significance(x, y), neuron_significance(x, y, alpha=0.001)
    assert torch.equal(strict.significant, found.q_value < 0.001)
    assert 0 < strict.significant.sum() < found.significant.sum() < 60
    for alpha in (0, 1, -1.0, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            neuron_significance(x, y, alpha=alpha)


@pytest.mark.parametrize("sizes", [(20, 20), (20, 20, 20)], ids=str)
def test_dead_units_are_never_significant_and_cost_the_others_nothing(sizes):
    x, y = layer(sizes, shift=0.5, units=20, kind="normal")
    if len(sizes) == 2:
        x = torch.cat([x, torch.zeros(len(x), 50), torch.full((len(x), 5), 0.1)], 1)
    else:
        x = torch.cat([x, torch.zeros(len(x), 55)], 1)
    found, alone = neuron_significance(x, y), neuron_significance(x[:, :20], y)
    assert not found.significant[20:].any()
    assert found.p_value[20:].isnan().all()
    assert torch.equal(found.q_value[:20], alone.q_value)
    assert alone.significant.any()


@pytest.mark.parametrize("sizes", [(25, 20), (25, 20, 30)], ids=str)
@pytest.mark.parametrize("kind", ["normal", "skewed", "relu"])
def test_null(sizes, kind):
    x, y = layer(sizes, units=2000, kind=kind)
    found = neuron_significance(x, y)
    assert_uniform(found.p_value)
    assert found.significant.double().mean() < 0.002


def test_layers_of_any_shape():
    generator = torch.Generator().manual_seed(0)
    images, y = torch.randn(24, 5, 4, 4, generator=generator), torch.arange(24) % 3
    words = torch.randn(24, 6, 5, generator=generator)
    for features, matrix in ((images, images.mean((2, 3))), (words, words.mean(1)), (words[:, 0, 0], words[:, 0, :1])):
        for a, b in zip(neuron_significance(features, y), neuron_significance(matrix, y), strict=True):
            assert torch.equal(a, b) or torch.allclose(a, b)


def test_one_sample_object_answers_everything():
    x, y = layer((30, 20, 30), shift=0.2)
    sample = sample_of_classes(x, y)
    for a, b in zip(significance(sample, 0.05), neuron_significance(x, y), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(brown_forsythe_of(sample), brown_forsythe(x, y), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(pooled_normality(sample), shapiro_wilk(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)
    for k, label in enumerate((1, 4, 7)):
        for a, b in zip(class_normality(sample), shapiro_wilk(x[y == label]), strict=True):
            torch.testing.assert_close(a[:, k], b, rtol=1e-9, atol=0)


x, y = layer((12, 9, 12), shift=0.3)
first, second = x[y == 7], x[y == 4]
of_two = [welch_t_test, mann_whitney_u, hedges_g, rank_biserial, roc_auc]
of_classes = [brown_forsythe, welch_anova, kruskal_wallis, omega_squared, rank_eta_squared]
every = [shapiro_wilk, *of_two, *of_classes]


def apply(function, values):
    """Any test on the columns of a matrix like x, as a tuple of tensors."""
    if function is shapiro_wilk:
        found = function(values)
    elif function in of_two:
        found = function(values[y == 7], values[y == 4])
    else:
        found = function(values, y)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("function", [*every, neuron_significance])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bad_unit_does_not_touch_the_others(function, value, dtype):
    bad = x.to(dtype, copy=True)
    bad[(y == 7).nonzero()[3], 2] = value
    rest = [i for i in range(12) if i != 2]
    for a, b in zip(apply(function, bad), apply(function, bad[:, rest]), strict=True):
        assert torch.equal(a[rest], b)
        assert not a.is_floating_point() or a[2].isnan()
    if function is neuron_significance:
        assert not function(bad, y).significant[2]


@pytest.mark.parametrize("function", every)
@pytest.mark.parametrize(
    "bad",
    [x.to(torch.complex64), x.to_sparse(), x[:0], x[:, :0], x[:, :, None], torch.tensor(1.0), x.numpy(), None],
    ids=["complex", "sparse", "no row", "no column", "three axes", "scalar", "array", "None"],
)
def test_what_is_no_matrix(function, bad):
    with pytest.raises(ValueError):
        function(bad) if function is shapiro_wilk else function(bad, second if function in of_two else y)
    if function in of_two:
        with pytest.raises(ValueError):
            function(first, bad)


@pytest.mark.parametrize("function", [*every, neuron_significance])
@pytest.mark.parametrize("exponent", [-560, -100, 100, 500])
def test_scale_does_not_matter(function, exponent):
    values = torch.cat([x.double(), torch.full((len(x), 1), 0.1, dtype=torch.float64)], 1)
    values[:, 3] = values[:, 3].where(y != 4, 0.5)  # one constant class
    for a, b in zip(apply(function, values * 2.0**exponent), apply(function, values), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("function", [*every, neuron_significance])
@pytest.mark.parametrize("exponent", [-1070, 1019])
def test_the_ends_of_float64(function, exponent):
    """Whole numbers from -15 to 15, as subnormal numbers and with a range that is no number."""
    values = ((x.double() * 4).round().clamp(-15, 15) * 2.0**-4).ldexp(torch.tensor(4))
    values[0], values[1] = 15, -15
    factor = 2.0 ** (exponent / 2)
    for a, b in zip(apply(function, values * factor * factor), apply(function, values), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0, equal_nan=True)


def test_a_class_of_much_smaller_values_than_the_others():
    values = x.double()
    values[y == 4] *= 2.0**-600
    tests = class_normality(sample_of_classes(values, y))
    for k, label in enumerate((1, 4, 7)):
        for a, b in zip(tests, shapiro_wilk(x[y == label].double()), strict=True):
            torch.testing.assert_close(a[:, k], b, rtol=1e-12, atol=0)


@pytest.mark.parametrize("sizes", [(5001, 20), (5001, 5002, 5003)], ids=str)
def test_one_warning_beyond_5000_samples_of_a_class(sizes):
    many, labels = layer(sizes, units=3)
    with pytest.warns(UserWarning, match=f"a class has {max(sizes)}") as caught:
        neuron_significance(many, labels)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neuron_significance(many[labels == 7][:5000].repeat(2, 1), torch.arange(2).repeat_interleave(5000))


@pytest.mark.parametrize("function", [*of_classes, neuron_significance, class_selectivity])
@pytest.mark.parametrize("target", [y.float(), y[:-1], y[:, None], y.numpy(), None], ids=str)
def test_what_is_no_target(function, target):
    with pytest.raises(ValueError, match="target"):
        function(x, target)


def test_too_few_samples():
    with pytest.raises(ValueError, match="at least 3"):
        shapiro_wilk(x[:2])
    for function in (welch_t_test, mann_whitney_u):
        with pytest.raises(ValueError, match="at least 3"):
            function(first, second[:2])
    few = torch.arange(len(x)) // 2
    for function in (brown_forsythe, welch_anova, kruskal_wallis, neuron_significance):
        with pytest.raises(ValueError, match=r"at least 3 samples.*16: 1"):
            function(x, few)
        with pytest.raises(ValueError, match="at least 2 classes"):
            function(x, torch.zeros_like(y))


def test_units_must_be_the_same():
    for function in of_two:
        with pytest.raises(ValueError, match="12 and 11"):
            function(first, second[:, :-1])


@pytest.mark.parametrize("function", [*every, neuron_significance, class_selectivity])
def test_surroundings_do_not_matter(function):
    expected = apply(function, x)

    def assert_unchanged(found):
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.nan_to_num(9), b.nan_to_num(9))
            assert not a.requires_grad

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_unchanged(apply(function, x))
    with torch.inference_mode():
        copy = x.clone()
        assert_unchanged(apply(function, copy))
    assert_unchanged(apply(function, copy))
    assert_unchanged(apply(function, x.clone().requires_grad_()))
    assert_unchanged(apply(function, x.repeat(1, 2)[:, :12]))
    threads, default = torch.get_num_threads(), torch.get_default_dtype()
    try:
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float16)
        assert_unchanged(apply(function, x))
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(default)


@pytest.mark.parametrize("function", [*every, neuron_significance, class_selectivity])
def test_input_is_not_changed(function):
    for values in (x.clone(), x.double(), x.T.contiguous().T):
        before = values.clone()
        apply(function, values)
        assert torch.equal(values, before)


def test_several_threads_and_blocks_under_inference_mode():
    many, labels = layer((200, 150), units=900, shift=0.1)
    expected = neuron_significance(many, labels)
    with torch.inference_mode():
        found = neuron_significance(many.clone(), labels)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_all_names_are_there():
    for name in functional.__all__:
        assert hasattr(functional, name)
