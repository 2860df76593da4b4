"""The pages of reports in a real browser: in light and dark, on a phone, in a sandboxed frame, without any network."""

import html
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_page import HOSTILE
from recorded_runs import metrics

from kfp_textclf.components.common.report import Log, Table, render_html
from kfp_textclf.components.compare.comparison_report import comparison_blocks
from kfp_textclf.components.evaluate.evaluation_report import evaluation_blocks

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP, PHONE = (1200, 900), (360, 780)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever a page asks for fails, and the console says so
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as `.ci/browser` installs it."""
    from selenium import webdriver

    if not all(map(shutil.which, ("chromium", "chromedriver", "npm"))) and not os.environ.get("CI"):
        pytest.skip("Chromium, its driver or npm is missing; .ci/browser installs what it needs")
    subprocess.run([ROOT / ".ci" / "browser"], check=True)
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an evaluation whose texts are hostile, with every kind of block in it."""
    content = metrics(20, 2)
    for mistake, text in zip(content["mistakes"], HOSTILE, strict=False):
        mistake["text"] = text[:2000]
    blocks = [*evaluation_blocks(content), *comparison_blocks(content["data_changes"]), Log("Log", ["x" * 300])]
    blocks.append(Table("Parameters", ("parameter", "value"), [("a", "b" * 300)], folded=True))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html("Training run", f"subtitle {'long' * 60}", blocks), encoding="utf-8")
    return path


def show(browser: Any, page: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
    """Open a page of a given width (phones are narrower than a window can be) and colour scheme."""
    width, height = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get_log("browser")
    browser.get(page.as_uri())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_is_whole_at_every_width_and_scheme(browser: Any, page: Path, size: tuple[int, int], scheme: str) -> None:
    show(browser, page, size, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert browser.get_log("browser") == []
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_reading(browser: Any, page: Path, scheme: str) -> None:
    show(browser, page, scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []
    assert len(found["passes"]) > 15


def test_search_filters_the_misclassified_texts(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    search = browser.find_element("css selector", "input[type=search]")
    visible = "return [...document.querySelectorAll('section, details')].find(e => e.contains(arguments[0]))"
    rows = f"{visible}.querySelectorAll('tbody tr:not([hidden])').length"
    assert browser.execute_script(rows, search) == 20
    search.send_keys("EVIL.example  text")
    assert browser.execute_script(rows, search) == 1
    assert browser.find_element("css selector", "output").text == "1 of 20"
    search.send_keys(" nothing")
    assert browser.execute_script(rows, search) == 0
    search.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    assert browser.execute_script(rows, search) == 20


def test_page_without_script_shows_no_search(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, page)
        assert not browser.find_element("css selector", "input[type=search]").is_displayed()
        assert browser.find_element("css selector", "tbody tr").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_page_works_in_the_frame_of_the_dashboard(browser: Any, page: Path, tmp_path: Path) -> None:
    host = tmp_path / "host.html"
    source = html.escape(page.read_text(encoding="utf-8"))
    host.write_text(f'<meta charset="utf-8"><iframe sandbox="allow-scripts" srcdoc="{source}" width="900"></iframe>')
    show(browser, host)
    browser.switch_to.frame(0)
    browser.find_element("css selector", "input[type=search]").send_keys("evil.example")
    assert 0 < len(browser.find_elements("css selector", "tbody tr[hidden]")) < 20
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    browser.switch_to.default_content()
    assert browser.get_log("browser") == []


def test_page_can_be_used_with_the_keyboard(browser: Any, page: Path) -> None:
    show(browser, page)
    scrolled = "return [...document.querySelectorAll('.scroll, pre')].filter(e => e.tabIndex !== 0).length"
    assert browser.execute_script(scrolled) == 0
    browser.find_element("css selector", "summary").send_keys("\n")
    assert browser.execute_script("return document.querySelector('details').open")


def test_page_is_small(page: Path) -> None:
    assert page.stat().st_size < 300_000
