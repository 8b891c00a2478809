"""What a person sees of a run: TensorBoard in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LAYERS = ["input", "layer1", "layer2", "layer3", "logits"]
RUNS = ["random_labels", "true_labels", "untrained"]
MONITORS = ["separation", "separation_train"]

# Most dashboards live in nested shadow roots, which neither selectors nor innerText enter.
ELEMENTS = """
const within = root => [...root.querySelectorAll('*')].flatMap(e => e.shadowRoot ? [e, ...within(e.shadowRoot)] : [e]);
const found = selector => within(document).filter(e => e.matches(selector));
"""

# What a dashboard shows, each as [tag, ...].
CURVES = """
return found('tf-scalar-card').filter(e => e.offsetWidth).map(e => [
        e.tag, within(e.shadowRoot).filter(e => e.matches('path') && e.getBBox().width > 100).length])
"""
HISTOGRAMS = """
return found('tf-histogram-loader').filter(e => e.offsetWidth).map(e => [
        e.tag, within(e.shadowRoot).filter(e => e.matches('path') && e.getBBox().width > 20).length])
"""
IMAGES = """
return found('tf-image-loader').filter(e => e.offsetWidth).map(e => {
        const image = within(e.shadowRoot).find(e => e.matches('img'));
        return [e.tag, image?.naturalWidth ?? 0, image?.naturalHeight ?? 0]; })
"""
ROWS = """
const cells = row => row.textContent.trim().split(/\\s*\\n\\s*/);
return found('tf-text-loader').filter(e => e.offsetWidth).map(e => [
        e.tag, within(e.shadowRoot).filter(e => e.matches('tr') && !e.querySelector('table')).map(cells)])
"""
CHARTS = """
return found('tf-custom-scalar-multi-line-chart-card, tf-custom-scalar-margin-chart-card').map(e => {
        const inside = within(e.shadowRoot);
        const drawn = kind => inside.filter(e => e.matches(`path.${kind}`) && e.getBBox().width > 100).length;
        const series = inside.filter(e => e.matches('.match-list-entry')).map(e => e.textContent.trim());
        return [e.title, series.map(text => text.slice(1).trim()), drawn('line'), drawn('area')]; })
"""


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory):
    """Address of a TensorBoard that shows the shortened digits example."""
    pytest.importorskip("selenium")
    folder = tmp_path_factory.mktemp("tensorboard")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), "--epochs", "20", "--logdir", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--host=127.0.0.1", f"--port={port}"]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", f"--logdir={folder / 'digits'}", *where])
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def driver(tensorboard, tmp_path_factory):
    from selenium import webdriver
    from selenium.common import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = ["headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"]
    profile = tmp_path_factory.mktemp("profile")
    for flag in [*flags, "window-size=1600,1200", f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))

    def is_loaded(driver):
        try:
            driver.get(tensorboard)
        except WebDriverException:  # the server is not up yet
            return False
        return "TIME SERIES" in driver.execute_script("return document.body.innerText")

    WebDriverWait(driver, 60, 1).until(is_loaded)
    yield driver
    driver.quit()


@pytest.fixture
def show(driver, tensorboard):
    """``show(dashboard, tag_filter)`` opens a dashboard."""

    def show(dashboard, tag_filter=""):
        driver.get("about:blank")  # or a change of the fragment alone would keep the page
        driver.get(f"{tensorboard}/#{dashboard}&tagFilter={tag_filter}")

    return show


@pytest.fixture
def wait_for(driver):
    """``wait_for(script, condition)`` runs JavaScript until the condition holds for what it returns."""
    from selenium.common import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    def wait_for(script, condition):
        last = None

        def holds(driver):
            nonlocal last
            last = driver.execute_script(ELEMENTS + script)
            return condition(last)

        try:
            WebDriverWait(driver, 30).until(holds)
        except TimeoutException:
            pytest.fail(f"last seen: {last}")
        return last

    return wait_for


def cards_of(names):
    """Each of these tags in all three runs."""
    return Counter(name for name in names for _ in RUNS)


@pytest.mark.parametrize("monitor", MONITORS)
def test_first_page_has_a_chart_for_each_layer(show, wait_for, driver, monitor):
    show("timeseries")
    wait_for("return document.querySelectorAll('input[placeholder^=\"Filter tags\"]').length", bool)
    driver.find_element("css selector", "input[placeholder^='Filter tags']").send_keys(f"^{monitor}/")
    script = "return [...document.querySelectorAll('scalar-card')].map(e => e.innerText.replace(/\\n/g, ''))"
    tags = [f"{monitor}/{layer}" for layer in LAYERS]  # in order of depth: so are these names in the alphabet

    def matches_come_first(texts):
        """The cards that match stand above all groups of cards."""
        first = list(zip(texts, tags, strict=False))
        complete = all(text.startswith(tag) and all(run in text for run in RUNS) for text, tag in first)
        return len(first) == len(tags) and complete

    wait_for(script, matches_come_first)


@pytest.mark.parametrize("monitor", MONITORS)
def test_scalars_have_curves(show, wait_for, monitor):
    show("scalars", f"^{monitor}/")
    tags = {f"{monitor}/{layer}" for layer in LAYERS}
    wait_for(CURVES, lambda seen: tags <= {tag for tag, curves in seen if curves >= 2})  # untrained is a point


@pytest.mark.parametrize("monitor", MONITORS)
def test_histograms_are_drawn(show, wait_for, monitor):
    show("histograms", f"^{monitor}_pairs/(input|layer.)$")  # of more than twelve the rest is on the next page
    tags = cards_of(f"{monitor}_pairs/{layer}" for layer in LAYERS[:-1])
    wait_for(HISTOGRAMS, lambda seen: not tags - Counter(tag for tag, paths in seen if paths))


@pytest.mark.parametrize("monitor", MONITORS)
def test_figures_are_rendered(show, wait_for, monitor):
    show("images", f"^{monitor}_figures/")
    tags = cards_of([f"{monitor}_figures/layers_by_pairs", f"{monitor}_figures/depth"])
    seen = wait_for(IMAGES, lambda seen: not tags - Counter(tag for tag, width, _ in seen if width))
    assert all(width > 600 and height > 200 for tag, width, height in seen if tag in tags and width)


@pytest.mark.parametrize("monitor", MONITORS)
def test_table_of_the_hardest_pairs_is_a_table(show, wait_for, monitor):
    show("text", f"^{monitor}_tables/")
    tags = cards_of([f"{monitor}_tables/hardest_pairs/text_summary"])
    seen = wait_for(ROWS, lambda seen: not tags - Counter(tag for tag, rows in seen if len(rows) > 10))
    for rows in (rows for tag, rows in seen if tag in tags and rows):
        assert rows[0][:2] == ["class a", "class b"]
        assert len(rows[1]) == len(rows[0])


@pytest.mark.parametrize("prefix", ["", "separation_train_"])
def test_what_is_said_of_units_is_shown(show, wait_for, prefix):
    show("scalars", f"^{prefix}(significant_fraction|best_effect_size)/")
    tags = {f"{prefix}{word}/{layer}" for word in ("significant_fraction", "best_effect_size") for layer in LAYERS}
    wait_for(CURVES, lambda seen: tags <= {tag for tag, curves in seen if curves >= 2})

    show("histograms", f"^{prefix}effect_size/(input|layer.)$")
    tags = cards_of(f"{prefix}effect_size/{layer}" for layer in LAYERS[:-1])
    wait_for(HISTOGRAMS, lambda seen: not tags - Counter(tag for tag, paths in seen if paths))

    show("images", f"^{prefix}significance_figures/layer3$")
    tags = cards_of([f"{prefix}significance_figures/layer3"])
    seen = wait_for(IMAGES, lambda seen: not tags - Counter(tag for tag, width, _ in seen if width))
    assert all(width > 600 and height > 800 for tag, width, height in seen if tag in tags and width)


def test_table_of_units_is_a_table(show, wait_for):
    show("text", "^significance_tables/")
    tags = cards_of(["significance_tables/layers/text_summary"])
    seen = wait_for(ROWS, lambda seen: not tags - Counter(tag for tag, rows in seen if len(rows) > 5))
    for rows in (rows for tag, rows in seen if tag in tags and rows):
        assert rows[0][:3] == ["layer", "units", "significant"]
        assert [row[0] for row in rows[1:6]] == LAYERS


@pytest.mark.parametrize("monitor", MONITORS)
def test_custom_scalars_show_all_layers_of_all_runs_in_one_chart_and_bands_of_each_layer(show, wait_for, monitor):
    prefix = "" if monitor == "separation" else f"{monitor}_"
    words = {
        "mean separation": monitor,
        "hardest pair": f"{monitor}_min",
        "Bayes error, upper bound": f"{prefix}bayes_error",
        "significant units": f"{prefix}significant_fraction",
    }

    def series(word, layers):
        return frozenset(f"{word}/{layer} ({run})" for layer in layers for run in RUNS)

    together = {(f"{what}, all layers", series(word, LAYERS)) for what, word in words.items()}
    bands = {(f"{layer}: hardest pair, mean, easiest pair", series(monitor, [layer])) for layer in LAYERS}

    def complete(seen):  # drawn is what two runs have; untrained is a point
        lines = {(title, frozenset(names)) for title, names, lines, _ in seen if lines >= 2 * len(LAYERS)}
        areas = {(title, frozenset(names)) for title, names, _, areas in seen if areas == 2}
        return together <= lines and bands <= areas

    show("custom_scalars")
    seen = wait_for(CHARTS, complete)
    assert len(seen) == len(MONITORS) * (len(together) + 1 + len(bands))  # 1: the loss without a unit; no chart twice
