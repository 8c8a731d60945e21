"""The `peer` mark: skip (and count) what cannot run here, or fail it where peers are required. A pytest plugin."""

from collections import Counter

import pytest

from tests.peers import PEERS, missing, required


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture starts a peer."""
    for mark in item.iter_markers("peer"):
        for peer in mark.args:
            reason = missing(peer)
            if reason and required():
                pytest.fail(f"FIDUCIAL_REQUIRE_PEERS=1, but {reason}", pytrace=False)
            if reason:
                pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The peers that were missing, with the number of tests that waited for each."""
    absent = Counter(
        reason
        for report in terminalreporter.stats.get("skipped", [])
        for reason in filter(None, map(missing, PEERS))
        if reason in str(report.longrepr)
    )
    if absent:
        terminalreporter.section("peers not installed")
    for reason, tests in sorted(absent.items()):
        terminalreporter.line(f"{tests} test{'s' * (tests != 1)} skipped: {reason}")
