"""Test reports as JUnit XML, which every CI shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from placet.cli.findings import place
from placet.cli.suites import CaseResult, Report, Suite


def to_junit(report: Report, *, fail_on_uncovered: bool = False) -> str:
    """Return a report as XML. With ``fail_on_uncovered``, each uncovered policy is a failure."""
    uncovered = len(report.uncovered) if fail_on_uncovered else 0
    root = ET.Element(
        "testsuites",
        name="placet policy test",
        tests=str(report.total + uncovered),
        failures=str(len(report.failures) + uncovered),
        errors="0",
        time=f"{report.duration_s:.3f}",
    )
    root.extend(_suite(suite) for suite in report.suites)
    if uncovered:
        root.append(_coverage(report))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(suite: Suite) -> ET.Element:
    element = ET.Element(
        "testsuite",
        name=_clean(suite.file),
        tests=str(len(suite.results)),
        failures=str(len(suite.failures)),
        errors="0",
        time=f"{suite.duration_s:.3f}",
    )
    element.extend(_case(result, suite.file) for result in suite.results)
    return element


def _case(result: CaseResult, file: str) -> ET.Element:
    element = ET.Element(
        "testcase",
        name=_clean(result.case.name),
        classname=_clean(file),
        file=_clean(file),
        line=str(result.case.position.line),
    )
    if not result.passed:
        lines = [
            f"{found.field}: expected {found.expected}, is {found.actual}"
            for found in result.differences
        ]
        failure = ET.SubElement(element, "failure", message=_clean(lines[0]))
        failure.text = _clean("\n".join([*lines, f"at {place(result.case.position)}"]))
    return element


def _coverage(report: Report) -> ET.Element:
    count = str(len(report.uncovered))
    element = ET.Element("testsuite", name="coverage", tests=count, failures=count, errors="0")
    for policy in report.uncovered:
        case = ET.SubElement(
            element, "testcase", name=_clean(policy.policy_id), classname="coverage"
        )
        message = "no case is about this policy"
        ET.SubElement(case, "failure", message=message).text = _clean(place(policy.position))
    return element


# What XML 1.0 has no way to write.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
