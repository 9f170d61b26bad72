"""The page in a real Chromium: tables are sorted by click and by keyboard, and nothing complains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("jinja2", reason="needs the extra report")
axe: Any = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

_PHONE, _DESK = (360, 740), (1280, 800)


@pytest.fixture
def address(document: dict[str, Any], save: Callable[..., Path], lip: Callable[..., Any], tmp_path: Path) -> str:
    document["model"]["name"] = "<b>net</b>"
    assert lip("leaderboard", save(document), "--out", tmp_path / "board").code == 0
    return (tmp_path / "board" / "index.html").as_uri()


def values(table: Locator, column: str) -> list[str]:
    """In the order of the rows."""
    cells = table.locator(f"tbody [data-column='{column}']")
    return cells.evaluate_all("cells => cells.map(one => one.dataset.value)")


def sorted_by(table: Locator) -> list[tuple[str, str]]:
    """(title, direction) of every column that says that it is the one."""
    found = table.locator("th[aria-sort]").evaluate_all("all => all.map(one => [one.textContent, one.ariaSort])")
    return [(title, direction) for title, direction in found]


def in_order(column: list[str], *, descending: bool) -> bool:
    """Numbers in order, then what is missing."""
    numbers = [float(value) for value in column if value]
    return numbers == sorted(numbers, reverse=descending) and not any(column[len(numbers) :])


def test_it_sorts_by_click_and_by_keyboard_without_a_complaint(browser: Browser, address: str) -> None:
    page = browser.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url[:5] != "data:" else None)
    page.goto(address)
    proved, table = (page.get_by_role("table", name=f"cifar10, {standing}") for standing in ("proved", "assumed"))
    assert values(proved, "name") == ["<b>net</b>"]
    assert sorted_by(table) == [("VRA at 36/255", "descending")]
    assert in_order(values(table, "vra@36/255"), descending=True)
    names = values(table, "name")

    table.get_by_role("button", name="clean").click()
    assert sorted_by(table) == [("clean", "descending")]
    assert in_order(values(table, "clean"), descending=True)
    table.get_by_role("button", name="clean").click()
    assert sorted_by(table) == [("clean", "ascending")]
    assert in_order(values(table, "clean"), descending=False)
    assert page.text_content("[role=status]") == "Sorted by clean, ascending."

    table.get_by_role("button", name="clean").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert sorted_by(table) == [("VRA at 36/255", "descending")]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert sorted_by(table) == [("model", "ascending")]
    assert values(table, "name") == page.evaluate("names => names.sort((a, b) => a.localeCompare(b, 'en'))", names)
    assert heard == [address]
    page.close()


def test_it_is_a_table_without_scripts_too(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("tbody tr").count() > 30
    assert page.get_by_role("button").count() == 0
    for header in page.get_by_role("columnheader", name="VRA at 36/255").all():
        assert header.get_attribute("aria-sort") == "descending"
    context.close()


@pytest.mark.parametrize("size", [_DESK, _PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_to_say(browser: Browser, address: str, size: tuple[int, int], scheme: Any) -> None:
    """Names, roles, order and contrast, in both themes; and the page does not scroll sideways, its tables do."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    page.goto(address)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    page.close()


def test_the_models_name_stays_in_sight(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": _PHONE[0], "height": _PHONE[1]})
    page.goto(address)
    page.evaluate("document.querySelector('.scroll').scrollTo(5000, 300)")
    left = "document.querySelector('{}').getBoundingClientRect().left"
    assert page.evaluate(left.format("tbody th")) == page.evaluate(left.format(".scroll")) + 1
    covered = page.evaluate(
        "document.querySelector('tbody th').offsetWidth / document.querySelector('.scroll').offsetWidth"
    )
    assert covered <= 0.5
    top = "document.querySelector('{}').getBoundingClientRect().top"
    assert page.evaluate(top.format("thead th")) == page.evaluate(top.format(".scroll")) + 1
    page.close()
