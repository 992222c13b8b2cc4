"""``compress explain``: an account of the search that made a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from compress.cli.command import Command
from compress.cli.saying import say, say_wrapped
from compress.core.json_text import json_text


@click.command(cls=Command)
@click.argument("build", type=click.Path(path_type=Path), default="build")
@click.option("--json", "as_json", is_flag=True, help="Print the account as one JSON object.")
def explain(build: Path, as_json: bool) -> int:
    """Explain BUILD, a bundle (by default ./build): what each technique bought, and what would buy more.

    \b
    Example:
      compress explain build/

    In order: accuracy, time and size that each technique changed; what was tried and not shipped, and why; what was not
    tried; and what more data, more time or another target would buy. All of it is taken from the measurements that the
    bundle holds. Every file of the bundle is checked against its sha256 first.
    """
    from compress.api.explain import explain as run
    from compress.reports.explanation_text import sections

    explanation = run(build)
    if as_json:
        click.echo(json_text(explanation.to_dict(), indent=2))
        return 0
    say_wrapped(explanation.reason)
    for heading, lines in sections(explanation):
        say()
        say(heading)
        for line in lines:
            say_wrapped(f"  {line}", indent="    ")
    return 0
