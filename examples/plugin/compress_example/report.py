"""A report format: a function from a run to the text of a file."""

from __future__ import annotations

import csv
import io

from compress.reports.run import Run


def tsv_table(run: Run) -> str:
    """Write a tab-separated table: a line for each candidate, with its recipe, its bytes and why it was not shipped."""
    text = io.StringIO()
    table = csv.writer(text, dialect="excel-tab")
    table.writerow(("recipe", "bytes", "verdict"))
    for entry in run.candidates:
        name = entry.recipe.name
        size = "" if entry.profile is None else entry.profile.artifact_bytes
        table.writerow((name, size, "shipped" if name == run.shipped else run.choice.verdicts[name]))
    return text.getvalue()
