"""What holds for all tests: in CI nothing may be skipped for want of a tool."""

import os

import pytest

# Trainings of the tests are tiny: with several tests side by side, more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TOOLS = ("browser",)  # markers of tests that need a tool which CI must have


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    marked = [name for name in TOOLS if item.get_closest_marker(name)]
    if os.environ.get("CI") and marked and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a {marked[0]} test was skipped in CI, where it must run: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if os.environ.get("CI") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped whole in CI, where it must run: {report.longrepr}"
    return report
