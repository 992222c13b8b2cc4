"""The verdict of a gate as JUnit XML: a test suite with a test case for each check, as CI systems read it.

There is no standard. What is written is valid by the two schemas that are checked against most: that of Ant's reports
(Windy Road's ``JUnit.xsd``), which is strict about order and attributes, and that of Jenkins (``junit-10.xsd``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from compress.core.plain_text import plain
from compress.gate.verdict import Check, Verdict

if TYPE_CHECKING:
    from compress.errors import CompressError


def gate_junit(checks: Sequence[Check], candidate: str, baseline: str, on_inconclusive: str = "fail") -> str:
    """Return JUnit XML with a ``testcase`` for each check: a failure where it failed, an error where inconclusive.

    Args:
        checks: Checks of the gate.
        candidate: Candidate, as the user wrote it.
        baseline: Baseline, as the user wrote it.
        on_inconclusive: Treatment of inconclusive checks; "pass" reports them as skipped.
    """
    tags = {
        "fail": "failure",
        "inconclusive": "skipped" if on_inconclusive == "pass" else "error",
        "skipped": "skipped",
    }
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name="compress gate",
        package="compress",
        id="0",
        timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",
        tests=str(len(checks)),
        time="0",
    )
    counts = dict.fromkeys(("failure", "error", "skipped"), 0)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("candidate", candidate), ("baseline", baseline)):
        ElementTree.SubElement(properties, "property", name=name, value=plain(value))
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname="compress.gate", name=check.name, time="0")
        detail = plain(check.detail)
        tag = tags.get(check.verdict)
        if tag is not None:
            counts[tag] += 1
            why = ElementTree.SubElement(case, tag, message=detail)
            why.text = detail
            if tag != "skipped":  # Ant's schema knows no type of it.
                why.set("type", str(check.verdict))
    lines = "\n".join(plain(f"{check.name}: {check.verdict}: {check.detail}") for check in checks)
    ElementTree.SubElement(suite, "system-out").text = _legal(lines)
    ElementTree.SubElement(suite, "system-err")
    for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(counts[tag]))
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def gate_error_junit(error: CompressError, candidate: str, baseline: str) -> str:
    """Return JUnit XML with one ``testcase`` in error, where the gate could not run."""
    return gate_junit([Check("gate", Verdict.INCONCLUSIVE, str(error))], candidate, baseline)


def _legal(text: str) -> str:
    """Remove control characters, which XML 1.0 cannot hold; each line stays one."""
    return "\n".join(map(plain, text.split("\n")))
