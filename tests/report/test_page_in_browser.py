"""The page in a real Chromium: it renders, complains about nothing, shows what report.json says, and can be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lip_plugin as lp
from lip_plugin.report import report_document, write_report

pytest.importorskip("matplotlib", reason="needs the extra report")
axe: Any = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_PHONE, _DESK = (360, 740), (1280, 800)


@pytest.fixture
def address(report: lp.Report, tmp_path: Path) -> str:
    write_report(report, tmp_path / "out", gallery=True)
    return (tmp_path / "out" / "report.html").as_uri()


def opened(browser: Browser, address: str, size: tuple[int, int] = _DESK, scheme: Any = "light") -> Page:
    """The page with everything unfolded."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return page


def test_it_renders_without_a_complaint_and_asks_for_nothing(browser: Browser, address: str) -> None:
    page = browser.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url[:5] != "data:" else None)
    page.goto(address)
    assert heard == [address]
    assert page.title() == "net: robustness report"
    for drawing in page.locator("svg").all():
        box = drawing.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 100
    loaded = "Array.from(document.images).map(one => one.complete && one.naturalWidth)"
    assert page.evaluate(loaded) == [2, 2, 2]
    page.close()


def test_the_figures_are_those_of_report_json(browser: Browser, address: str, tmp_path: Path, shown_as: Any) -> None:
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    page = opened(browser, address)
    fields = page.evaluate(
        "Array.from(document.querySelectorAll('[data-field]'))"
        ".map(one => [one.dataset.field, one.dataset.form, one.textContent, one.checkVisibility()])"
    )
    assert len(fields) > 60
    for pointer, form, text, visible in fields:
        assert shown_as(document, pointer, form, text), (pointer, form, text)
        assert visible, pointer
    assert page.evaluate("JSON.parse(document.getElementById('report').textContent)") == document
    page.close()


@pytest.mark.parametrize("size", [_DESK, _PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_to_say(browser: Browser, address: str, size: tuple[int, int], scheme: str) -> None:
    """Names, roles, alternatives, order and contrast, in both themes."""
    page = opened(browser, address, size, scheme)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_of_the_plots_stand_out(browser: Browser, address: str, scheme: str) -> None:
    """Contrast of at least 3 for graphics and 4.5 for words (WCAG 2.2, 1.4.11 and 1.4.3)."""
    page = opened(browser, address, scheme=scheme)
    colours = page.evaluate(
        "(() => { const style = getComputedStyle(document.documentElement);"
        " return Object.fromEntries(['paper', 'ink', 'quiet', 'proved', 'attacked', 'failed']"
        ".map(name => [name, style.getPropertyValue('--' + name).trim()])) })()"
    )
    paper = _luminance(colours.pop("paper"))
    for name, colour in colours.items():
        low, high = sorted((paper, _luminance(colour)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name
    page.close()


def _luminance(colour: str) -> float:
    """Relative, of #rrggbb (WCAG 2.2)."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    ]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_phone_scrolls_tables_and_not_the_page(browser: Browser, address: str) -> None:
    page = opened(browser, address, _PHONE)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    smallest = page.evaluate(
        "Math.min(...Array.from(document.querySelectorAll('svg text')).map(one => one.getBoundingClientRect().height))"
    )
    assert smallest >= 9
    page.close()


def test_the_keyboard_reaches_what_folds_and_scrolls(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    reached: list[str] = []
    while "Python program" not in reached and len(reached) < 20:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))
        if reached[-1].startswith("Class by class"):
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.parentElement.open")
    assert {"Results for each eps", "Results for each class", "Python program"} <= set(reached)
    page.close()


def test_a_strangers_names_do_nothing(browser: Browser, hostile_report: lp.Report, tmp_path: Path) -> None:
    write_report(hostile_report, tmp_path / "out", gallery=True)
    page = browser.new_page()
    heard: list[str] = []
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto((tmp_path / "out" / "report.html").as_uri())
    assert heard == []
    shown = hostile_report.model.name.replace("\u202e", "\\u202e")
    assert page.text_content("h1") == shown
    assert page.title() == f"{shown}: robustness report"
    assert page.evaluate("JSON.parse(document.getElementById('report').textContent)") == report_document(hostile_report)
    assert axe.Axe().run(page).violations_count == 0
    page.close()


def test_a_notebook_cell_shows_the_page(browser: Browser, report: lp.Report) -> None:
    page = browser.new_page()
    page.set_content(report._repr_html_() or "")  # pyright: ignore[reportPrivateUsage]
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").text_content() == "net"
    assert frame.locator("svg").count() == 3
    page.close()
