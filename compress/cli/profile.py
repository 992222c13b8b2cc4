"""``compress profile``: measure accuracy and latency of an existing build."""

from __future__ import annotations

from typing import Any

import click

from compress.api.build_options import ProfileOptions
from compress.cli.generated import GroupedCommand
from compress.cli.model_argument import build_options
from compress.cli.saying import tell
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text


@click.command(cls=GroupedCommand)
@click.argument("artifact", type=click.Path(), default="build")
@build_options(ProfileOptions)
@click.option(
    "--power-modes",
    is_flag=True,
    help="Measure in every power mode of a Jetson named by --host, and put it back as it was, also where this is "
    "killed. nvpmodel has to run there without a password.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the profile as one JSON object.")
def profile(artifact: str, options: dict[str, Any], power_modes: bool, as_json: bool) -> int:
    """Measure ARTIFACT, a bundle or an ONNX file, on this machine or on --host. Needs no torch.

    \b
    Example:
      compress profile build/ --data val/ --out profile.json
      compress profile build/ --data val/ --target jetson --host user@board --power-modes
    """
    from rich.table import Table

    from compress.api.profile import profile as run
    from compress.api.profile import profile_power_modes
    from compress.bundle.profile_file import with_digest
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.profile_tables import power_mode_table, profile_tables
    from compress.cli.tables import bounded, print_table
    from compress.cli.terminal import TerminalReporter

    notes: list[str] = []
    with kept_for_the_result(), TerminalReporter(PlainConsole(stderr=True)) as reporter:
        if power_modes:
            swept = profile_power_modes(artifact, reporter=reporter, on_note=notes.append, **options)
        else:
            measured = run(artifact, reporter=reporter, on_note=notes.append, **options)
    for note in notes:
        tell(f"note: {note}")
    if power_modes:
        if as_json:
            click.echo(json_text(swept.to_dict(), indent=1))
        else:
            print_table(PlainConsole(), power_mode_table(swept))
    elif as_json:
        click.echo(json_text(with_digest(measured), indent=1))
    else:
        console = PlainConsole()
        for part in profile_tables(measured):
            if isinstance(part, Table):
                print_table(console, part)
            else:
                console.print(part, soft_wrap=not bounded(console))
    return 0
