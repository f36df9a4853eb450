"""The reports in a browser: what a reader sees, clicks and hears."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from report_inputs import HOSTILE, flags, write_pfam, write_uniref50

from npm_core.cli import main
from npm_core.precision import meff_bin
from npm_core.report.protein_cards import map_datasets, unpack

playwright = pytest.importorskip(
    "playwright.sync_api", reason="pip install playwright for the tests in a browser"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 240_000  # milliseconds, for a machine that is busy with other things
VIOLATIONS = {"resultTypes": ["violations"]}
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="install chromium (apt-get install chromium) for these tests"
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Path]]]:
    """Both reports, written beside their inputs."""
    made = {}
    for name, write in (("uniref50", write_uniref50), ("pfam_clan", write_pfam)):
        folder = tmp_path_factory.mktemp(name)
        made[name] = write(folder)
        output = folder / "page.html"
        words = ["report", "--experiment", name, *flags(made[name]), "--output", str(output)]
        assert main(words) == 0
        made[name]["page"] = [output]
    return made


class Reader:
    """A page opened from its file, and everything it said or asked for."""

    def __init__(self, browser, path: Path, **options) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(PATIENCE)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", self.dismiss)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def dismiss(self, dialog) -> None:
        self.said.append("alert")
        dialog.dismiss()

    def open_first_card(self) -> None:
        self.page.locator("#targets-table tbody button").first.click()
        self.page.wait_for_selector("dialog[open] #card-map svg")

    def drawn(self, figure: str) -> list[dict]:
        """The data behind the points and squares of one chart."""
        marks = self.page.locator(f"{figure} svg .mark-symbol.role-mark path")
        return marks.evaluate_all("all => all.map(one => one.__data__.datum)")

    def predictions(self) -> set[tuple]:
        """What the card's map draws over the structure's contacts."""
        marks = [mark for mark in self.drawn("#card-map") if "model" in mark]
        return {(mark["model"], mark["i"], mark["j"], mark["hit"]) for mark in marks}

    def tidy(self) -> "Reader":
        """As it was when opened."""
        if self.page.locator("dialog[open]").count():
            self.page.click("#card-close")
        self.page.fill("#search", "")
        return self


@pytest.fixture(scope="module")
def readers(browser, inputs) -> Iterator[dict[str, Reader]]:
    opened = {name: Reader(browser, made["page"][0]) for name, made in inputs.items()}
    yield opened
    for one in opened.values():
        one.page.close()


@pytest.fixture(params=["uniref50", "pfam_clan"])
def reader(request: pytest.FixtureRequest, readers) -> Reader:
    return readers[request.param].tidy()


@pytest.fixture
def uniref50(readers) -> Reader:
    return readers["uniref50"].tidy()


def test_the_page_asks_for_nothing_and_says_nothing(reader):
    reader.open_first_card()
    assert [url.split(":")[0] for url in reader.asked] == ["file"]
    assert reader.said == []


def test_every_figure_has_marks(reader):
    figures = reader.page.locator("[data-figure], [data-map]")
    assert figures.count() >= 9
    for k in range(figures.count()):
        marks = figures.nth(k).locator("svg [class*=role-mark] > *:not(g)")
        assert marks.count() >= 1


def test_a_click_on_a_point_opens_its_card(uniref50):
    points = "[data-figure=scatter]"
    uniref50.page.locator(f"{points} .mark-symbol.role-mark path").first.click()
    uniref50.page.wait_for_selector("dialog[open] #card-map svg")
    name = uniref50.page.locator("#card-title").inner_text()
    assert name == uniref50.drawn(points)[0]["id"]


def test_top_l_over_k_changes_the_marks(reader):
    reader.open_first_card()
    seen = []
    for cutoff in ("L/5", "L/2", "L"):
        reader.page.locator(f"#card-cutoffs input[value='{cutoff}']").check()
        reader.page.wait_for_function(
            f"document.querySelector('#card-map').dataset.drawn.includes(' {cutoff} ')"
        )
        seen.append(reader.predictions())
    assert seen[0] < seen[1] < seen[2]


def test_a_card_agrees_with_the_precision_table(uniref50, inputs):
    table = pq.read_table(inputs["uniref50"]["precision"][0]).to_pandas()
    uniref50.open_first_card()
    name = uniref50.page.locator("#card-title").inner_text()
    cells = uniref50.page.locator("#card-precision tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    shown = {cell[0]: cell[1:] for cell in cells}
    same = table[(table["id"] == name) & (table["model"] == "npm") & (table["range"] == "long")]
    expected = same.set_index("cutoff")["precision"]
    assert shown["NPM"] == [f"{expected[cutoff]:.3f}" for cutoff in ("L", "L/2", "L/5", "AUC")]


def test_hits_among_the_marks_are_the_precision(uniref50):
    uniref50.open_first_card()
    outcomes = [hit for model, _, _, hit in uniref50.predictions() if model == "NPM"]
    shown = uniref50.page.locator("#card-precision tr", has_text="NPM").first.inner_text()
    assert f"{sum(outcomes) / len(outcomes):.3f}" in shown.split("\t")


def test_the_card_draws_what_the_static_figure_draws(uniref50, inputs):
    uniref50.open_first_card()
    name = uniref50.page.locator("#card-title").inner_text()
    packed = uniref50.page.evaluate(
        "id => JSON.parse(document.getElementById('cards').textContent)[id]", name
    )
    made = map_datasets(
        unpack(packed), condition="", range_name="long", cutoff="L/5", lower="npm", upper="potts"
    )
    static = {(p["model"], p["x"], p["y"], p["hit"]) for p in made["predictions"]}
    drawn = [mark for mark in uniref50.drawn("#card-map") if "model" in mark]
    assert {(p["model"], p["x"], p["y"], p["hit"]) for p in drawn} == static
    truth = [mark for mark in uniref50.drawn("#card-map") if "model" not in mark]
    assert len(truth) == len(made["truth"])


def test_the_table_sorts_and_searches(uniref50):
    page = uniref50.page
    page.locator("#targets-table th button", has_text="Meff").click()
    cells = page.locator("#targets-table tbody td:nth-child(5)").all_inner_texts()
    values = [float(cell) for cell in cells]
    assert values == sorted(values, reverse=True)
    page.fill("#search", "unireF50_001")
    assert page.locator("#targets-table tbody tr").count() == 1


def test_markup_in_an_id_is_text(uniref50):
    uniref50.page.fill("#search", "<script>")
    row = uniref50.page.locator("#targets-table tbody button")
    assert row.inner_text() == HOSTILE
    row.click()
    uniref50.page.wait_for_selector("dialog[open] #card-map svg")
    assert uniref50.page.locator("#card-title").inner_text() == HOSTILE
    assert uniref50.said == []


def test_a_script_from_elsewhere_may_not_run(uniref50):
    uniref50.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); }"
    )
    assert uniref50.page.evaluate("window.ran") is None


def test_a_card_has_its_own_address(uniref50, inputs, browser):
    uniref50.open_first_card()
    address = uniref50.page.url
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("dialog[open] #card-map svg")
    assert page.locator("#card-title").inner_text() == (
        uniref50.page.locator("#card-title").inner_text()
    )
    page.close()


def test_cards_open_and_close_by_keyboard(uniref50):
    page = uniref50.page
    page.locator("#targets-table tbody button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] #card-map svg")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    assert page.evaluate("document.activeElement.closest('#targets-table') !== null")


def test_the_downloaded_table_is_the_table_shown(uniref50):
    page = uniref50.page
    with page.expect_download() as download:
        page.locator("[data-figure=figure-5] [data-save=csv]").click()
    lines = Path(download.value.path()).read_text().splitlines()
    page.locator("[data-figure=figure-5] summary").click()
    rows = page.locator("[data-figure=figure-5] tbody tr")
    rows.first.wait_for()
    assert lines[0] == "split,range,bin,model,label,n,mean,low,high"
    assert len(lines) - 1 == rows.count()


def rendered(reader: Reader, figure: str) -> list[dict[str, str]]:
    """Rows of a figure's data table as the reader sees them."""
    place = f"[data-figure={figure}]"
    if not reader.page.locator(f"{place} details[open]").count():
        reader.page.locator(f"{place} summary").click()
    reader.page.locator(f"{place} tbody tr").first.wait_for()
    return reader.page.locator(f"{place} table").evaluate(
        "table => { const head = [...table.tHead.rows[0].cells].map(cell => cell.textContent);"
        " return [...table.tBodies[0].rows].map(row => Object.fromEntries("
        "[...row.cells].map((cell, k) => [head[k], cell.textContent]))); }"
    )


def test_figure_5_as_rendered_has_the_means_of_the_precision_table(uniref50, inputs):
    table = pq.read_table(inputs["uniref50"]["precision"][0]).to_pandas()
    table["bin"] = [meff_bin(meff) for meff in table["meff"]]
    table = table[(table["cutoff"] == "L/5") & (table["range"] != "short")]
    groups = table.groupby(["split", "range", "bin", "model"])["precision"]
    expected = {key: (str(len(group)), f"{group.mean():.3f}") for key, group in groups}
    seen = {
        (row["split"], row["range"], row["bin"], row["model"]): (row["n"], row["mean"])
        for row in rendered(uniref50, "figure-5")
        if row["n"] != "0"
    }
    assert seen == expected


def test_figure_3_as_rendered_has_the_means_over_the_rounds(readers, inputs):
    paths = inputs["pfam_clan"]["precision"]
    table = pd.concat([pq.read_table(path).to_pandas() for path in paths])
    table = table[(table["cutoff"] == "L") & (table["clan"] == "NADP_Rossmann")]
    by_round = table.groupby(["range", "reduced_depth", "model", "round"])["precision"].mean()
    expected = {
        key: f"{mean:.3f}"
        for key, mean in by_round.groupby(["range", "reduced_depth", "model"]).mean().items()
    }
    seen = {
        (row["range"], row["reduced_depth"], row["model"]): row["mean"]
        for row in rendered(readers["pfam_clan"].tidy(), "figure-3")
    }
    assert seen == expected


def test_the_downloaded_parquet_is_the_data_table(uniref50):
    page = uniref50.page
    with page.expect_download() as download:
        page.locator("[data-figure=wins] [data-save=parquet]").click()
    table = pq.read_table(download.value.path()).to_pandas()
    assert [str(n) for n in table["n"]] == [row["n"] for row in rendered(uniref50, "wins")]


def test_a_card_fits_a_narrow_screen(uniref50):
    before = uniref50.page.viewport_size
    uniref50.page.set_viewport_size({"width": 390, "height": 800})
    uniref50.open_first_card()
    uniref50.page.wait_for_selector("#card-map[data-drawn]")
    wide = "one => one.scrollWidth - one.clientWidth"
    assert uniref50.page.locator("#card").evaluate(wide) <= 0
    uniref50.page.set_viewport_size(before)


@pytest.mark.parametrize(
    ("experiment", "scheme", "width"), [("uniref50", "light", 1200), ("pfam_clan", "dark", 400)]
)
def test_axe_finds_no_serious_violation(browser, inputs, experiment, scheme, width):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    size = {"width": width, "height": 900}
    reader = Reader(browser, inputs[experiment]["page"][0], color_scheme=scheme, viewport=size)
    for opened in (False, True):
        if opened:
            reader.open_first_card()
        # Marks of one kind are alike, and axe looks at each of thousands: three of a kind stay.
        reader.page.evaluate(
            "document.querySelectorAll('svg [class*=role-mark] > :nth-child(n+4)')"
            ".forEach(mark => mark.remove())"
        )
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
            for one in axe.Axe().run(reader.page, options=VIOLATIONS).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    reader.page.close()
