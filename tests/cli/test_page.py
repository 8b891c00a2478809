"""The page and its figures: one file that needs no other, whatever things are called."""

import base64
import os
import shutil
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from lightning_separation.cli.pictures import READING
from lightning_separation.runs.figures import FIGURES
from tests.cli.made import moments, process, saved

PNG = b"\x89PNG\r\n\x1a\n"
NASTY = '<script>alert("1")</script>'


class Parts(HTMLParser):
    """Tags with their attributes, and the text, of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.path = [], "", path
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def images(self):
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        head = "data:image/png;base64,"
        assert all(source.startswith(head) for source in sources)
        return [base64.b64decode(source.removeprefix(head)) for source in sources]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Folders of a page of one run and of two; written by the command in a process of its own."""
    root = tmp_path_factory.mktemp("pages")
    names = [f"class {NASTY}", "b & c", "d", "ü"]
    makes = {"baseline": moments(), "worse": moments(-0.2, epochs=("before", 0, 1, 2))}
    for name, records in makes.items():
        for record in records:
            record.class_names[:] = names
        settings = {"settings": {"module": f"Net{NASTY}", "seed": 0}, "versions": {"torch": "2.9.9"}}
        saved(records, root / "logs" / name / "version_0" / "separation", **settings)
    runs = [root / "logs" / name for name in makes]
    (root / "show").mkdir()
    (root / "show" / "index.html").write_text("old")
    (root / "show" / "mine.txt").write_text("mine")
    for command in (["show", runs[0], "--output", root / "show"], ["compare", *runs, "--output", root / "compare"]):
        ended = process("-m", "lightning_separation", *command)
        assert (ended.returncode, ended.stderr) == (0, f"Page: {command[-1]}/index.html\n")
    return root


@pytest.mark.parametrize("kind", ["show", "compare"])
def test_page_needs_nothing_but_itself(pages, kind):
    page = Parts(pages / kind / "index.html")
    assert not {"script", "iframe", "object", "a", "form"} & {tag for tag, _ in page.tags}
    addresses = [v for _, attributes in page.tags for k, v in attributes.items() if k in ("src", "href", "srcset")]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not any(word in page.path.read_text("utf-8") for word in ("http://", "https://", "@import", "url("))
    assert f"class {NASTY}" in page.text
    assert f"Net{NASTY}" in page.text


def test_page_has_every_figure_and_each_is_a_file(pages):
    for kind in ("show", "compare"):
        inside = Parts(pages / kind / "index.html").images()
        files = [path.read_bytes() for path in sorted((pages / kind).rglob("*.png"))]
        assert all(file.startswith(PNG) for file in files)
        assert sorted(inside) == sorted(files)
    stems = {path.stem for path in (pages / "show").glob("*.png")}
    assert stems >= {
        "epochs",
        "curves",
        "bands",
        "histograms",
        "pairs",
        "bayes_error",
        "training_effect",
        "layer_steps",
        "epoch_steps",
    }
    written = {str(path.relative_to(pages / "compare")) for path in (pages / "compare").rglob("*.png")}
    assert written >= {"depth.png", "difference-worse.png", "worse/epochs.png", "baseline/pairs.png"}


def test_conclusion_comes_first_then_tables_then_figures_then_notes(pages):
    page = Parts(pages / "compare" / "index.html")
    figures = "from the input to the last layer"
    order = ["minus baseline: 2 of 2 layers differ", "differs since", figures, "Notes", "assumes", "torch", "2.9.9"]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert "only worse has the epochs 2" in page.text
    assert "bands may overlap where a difference is sure" in page.text
    assert "may still differ by their seeds alone" in page.text


def test_every_figure_of_a_run_is_explained():
    assert set(READING) == set(FIGURES)


def test_only_the_page_is_replaced(pages):
    assert (pages / "show" / "mine.txt").read_text() == "mine"
    assert (pages / "show" / "index.html").read_text("utf-8").startswith("<!DOCTYPE html>")


class Watched(SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked for."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 480])
@pytest.mark.parametrize("kind", ["show", "compare"])
def test_browser_shows_all_in_both_colour_schemes_and_asks_for_nothing_else(pages, kind, width, scheme, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("needs chromium and chromedriver")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Watched, directory=pages / kind))
    Thread(target=server.serve_forever, daemon=True).start()
    Watched.asked.clear()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={tmp_path}"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(f"http://127.0.0.1:{server.server_port}/index.html")
        driver.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
        images = driver.execute_script("return [...document.images].map(e => [e.naturalWidth, e.offsetWidth, e.alt])")
        across = driver.execute_script("return document.documentElement.scrollWidth")
        ground, ink = driver.execute_script(
            "const s = getComputedStyle(document.body);"
            "return [s.backgroundColor, s.color].map(c => Math.max(...c.match(/\\d+/g).slice(0, 3)))"
        )
        said = driver.get_log("browser")
        if folder := os.environ.get("SCREENSHOTS"):
            driver.save_screenshot(f"{folder}/{kind}-{scheme}-{width}.png")
    finally:
        driver.quit()
        server.shutdown()
        server.server_close()
    assert Watched.asked == ["/index.html"]
    assert said == []
    assert len(images) == len(list((pages / kind).rglob("*.png")))
    assert all(natural > 300 and 200 < shown <= width and alt for natural, shown, alt in images)
    assert across <= width
    assert (ground > 200 > 100 > ink) if scheme == "light" else (ground < 60 < 200 < ink)
