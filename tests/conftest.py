"""What holds for all tests: in CI nothing may be skipped for want of a tool."""

import functools
import json
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


@pytest.fixture(scope="session", autouse=True)
def _same_charts_drawn_once():
    """Many tests draw the page of one run: the chart engine is asked once for each picture of a process."""
    try:
        import vl_convert
    except ImportError:  # an environment for the recorder's tests
        yield
        return

    draw = vl_convert.vegalite_to_svg

    @functools.lru_cache(maxsize=1000)
    def drawn(spec, urls):
        return draw(json.loads(spec), allowed_base_urls=list(urls))

    def once(spec, allowed_base_urls):
        return drawn(json.dumps(spec), tuple(allowed_base_urls))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vl_convert, "vegalite_to_svg", once)
        once.anew = draw
        yield


@pytest.fixture
def charts_drawn_anew(monkeypatch):
    """The chart engine is asked again: for tests that compare what it draws twice."""
    import vl_convert

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", vl_convert.vegalite_to_svg.anew)
