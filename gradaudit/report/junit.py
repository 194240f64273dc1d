"""The audit as JUnit XML for Jenkins, GitLab and Azure: a test case for each diagnoser."""

from xml.etree import ElementTree

from gradaudit.audit.result import Audit, Outcome
from gradaudit.findings import Clean, Failed, Finding, NotApplicable, Severity, Skipped
from gradaudit.report.text import name, sentence


def render(audit: Audit, fail_on: str = "never") -> str:
    """One suite. A case fails when it has a finding at least as severe as `fail_on`: critical, warning, note or never.

    What is not applicable, was skipped or failed is a skipped test, with the reason: it is neither a
    pass nor a failure of the training.
    """
    cases = [_case(outcome, fail_on) for outcome in audit.outcomes]
    totals = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
    }
    suites = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": f"gradaudit: {name(audit.meta.name)}", **totals})
    suite.extend(cases)
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def _case(outcome: Outcome, fail_on: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": "gradaudit", "name": name(outcome.diagnoser), "time": "0"})
    failing = [finding for finding in outcome.findings if _reaches(finding, fail_on)]
    match outcome.result:
        case NotApplicable(reason=reason):
            skipped = f"not applicable: {reason}"
        case Skipped(reason=reason, enable=enable):
            skipped = f"skipped: {reason}. To enable: {enable}"
        case Failed(text=error):
            skipped = f"could not run: {error}"
        case _:
            skipped = ""
    if skipped:
        ElementTree.SubElement(case, "skipped", {"message": sentence(skipped)})
    for finding in failing[:1]:
        named = f"{finding.title}: {finding.headline}" if finding.title else finding.headline
        head = {"message": sentence(named), "type": finding.severity.value}
        ElementTree.SubElement(case, "failure", head).text = "\n\n".join(map(_words, failing))
    below = [finding for finding in outcome.findings if finding not in failing]
    told = "\n\n".join(map(_words, below)) or (
        sentence(outcome.result.measured) if isinstance(outcome.result, Clean) else ""
    )
    if told:
        ElementTree.SubElement(case, "system-out").text = told
    return case


def _reaches(finding: Finding, fail_on: str) -> bool:
    return fail_on != "never" and finding.severity.rank <= Severity(fail_on).rank


def _words(finding: Finding) -> str:
    lines = [f"{finding.severity.value}: {sentence(finding.headline)}", sentence(finding.explanation)]
    return "\n".join([*lines, *(f"Next: {sentence(action.text)}" for action in finding.actions)])
