"""axe-core in a page: WCAG 2.2 A and AA, and its best practices."""

from typing import Any

from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What a theme or a density can break: the rest is the same in each.
OF_LOOK = ("color-contrast", "scrollable-region-focusable")
# Axe describes every node that it looked at. What is well is not asked for: two thirds of the time went there.
_RUN = """(runOnly) => axe.run(document, { runOnly, resultTypes: ["violations"], selectors: false })
  .then(({ violations }) => violations.flatMap(
    ({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 160)}`)))"""


def violations(page: Page, *only: str) -> list[str]:
    """What breaks a rule (or one of those named): the rule, and how its element begins."""
    axe = Axe()
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe.axe_script)
    asked: dict[str, Any] = {"type": "rule", "values": only} if only else {"type": "tag", "values": RULES}
    return list(page.evaluate(_RUN, asked))


def wear(page: Page, *, dark: bool, density: str = "dense") -> None:
    """Give the page that look in place, as its own switches do."""
    page.evaluate(
        "([theme, density]) => Object.assign(document.documentElement.dataset, {bsTheme: theme, density})",
        ["dark" if dark else "light", density],
    )


def violations_in_both_themes(page: Page) -> list[str]:
    """Every rule in the light theme, and what a theme can break in the dark one; the page is left light."""
    found = violations(page)
    wear(page, dark=True)
    found += [f"dark: {each}" for each in violations(page, *OF_LOOK)]
    wear(page, dark=False)
    return found
