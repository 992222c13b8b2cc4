"""One runner for all benchmarks.

python -m benchmarks list                      # every benchmark, by folder
python -m benchmarks run NAME [ARGUMENT…]      # one of them, with its own arguments
python -m benchmarks run --record NAME         # and keep what it measured in profiles/benchmarks
python -m benchmarks tables [--check]          # write the documents' tables anew from what was kept
"""

from __future__ import annotations

import ast
import runpy
import shlex
import sys
from itertools import groupby
from pathlib import Path

import click

from benchmarks import results
from benchmarks.layouts import LAYOUTS
from benchmarks.tables import DOCUMENTS, ROOT, rewritten
from compress.core.suggestions import did_you_mean

HERE = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Return the module of every benchmark by its name: its path below the folder, of a package the package's."""
    found = {}
    for path in sorted(HERE.glob("*/**/*.py")):
        if path.name != "__main__.py" and _is_part(path):
            continue
        parts = path.relative_to(HERE).with_suffix("").parts
        found[".".join(parts[1:]).removesuffix(".__main__")] = ".".join(["benchmarks", *parts]).removesuffix(
            ".__main__"
        )
    return found


@click.group()
def main() -> None:
    """Run the benchmarks of compress; what they printed stands in benchmarks/README.md."""


@main.command("list")
def list_all() -> None:
    """List every benchmark, by folder, with what it measures."""
    for folder, members in groupby(benchmarks().items(), key=lambda member: member[1].split(".")[1]):
        click.echo(f"{folder}:")
        for name, module in members:
            click.echo(f"  {name:20} {told(module)}")


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--record", is_flag=True, help="Write what it measured to profiles/benchmarks/NAME.json.")
@click.option("--label", metavar="LABEL", help="Write NAME.LABEL.json, for results of several machines.")
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(record: bool, label: str | None, name: str, arguments: tuple[str, ...]) -> None:
    """Run the benchmark NAME with its own arguments: run NAME --help shows them."""
    known = benchmarks()
    if name not in known:
        near = did_you_mean(name, known) or "python -m benchmarks list names them"
        raise click.UsageError(f"no benchmark {name}; {near}")
    if record and not records(known[name]):
        raise click.UsageError(f"{name} keeps no rows that could be recorded; run it without --record")
    if "--record" in arguments:
        raise click.UsageError(f"--record stands before {name}, whose own arguments follow its name")
    with results.recording() as tables:
        code = _exit_code(known[name], [f"benchmarks {name}", *arguments])
    if record and code == 0 and not {"-h", "--help"} & set(arguments):
        empty = [table for table, rows in tables.items() if not rows]
        if empty or not tables:
            raise click.ClickException(
                f"{name} measured no rows for {', '.join(empty) or 'any table'}, so that nothing is recorded"
            )
        command = shlex.join(["python", "-m", "benchmarks", "run", name, *arguments])
        click.echo(f"recorded: {results.measured_here(name, command, tables).write(label)}", err=True)
    sys.exit(code)


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a table differs.")
def tables(check: bool) -> None:
    """Write the tables of README.md, benchmarks/README.md and docs anew from profiles/benchmarks."""
    differ = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        anew = rewritten(text, LAYOUTS)
        if anew != text:
            differ.append(document)
            if not check:
                document.write_text(anew, encoding="utf-8")
    for document in differ:
        click.echo(f"{document.relative_to(ROOT)}: {'differs' if check else 'written'}")
    sys.exit(1 if check and differ else 0)


def told(module: str) -> str:
    """Return the first line of what a benchmark says about itself."""
    path = HERE.joinpath(*module.split(".")[1:])
    text = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def records(module: str) -> bool:
    """Tell whether a benchmark hands its rows to :func:`benchmarks.results.record`."""
    path = HERE.joinpath(*module.split(".")[1:])
    files = [*path.glob("*.py")] if path.is_dir() else [path.with_suffix(".py")]
    return any("results.record(" in file.read_text(encoding="utf-8") for file in files)


def _exit_code(module: str, argv: list[str]) -> int:
    """Run a module as the program, and return the exit code that it ends with."""
    sys.argv = argv
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            click.echo(ended.code, err=True)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _is_part(path: Path) -> bool:
    """Tell whether a file is no benchmark: it cannot be run, or is a part of a package that is run as a whole."""
    runs = 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    return not runs or path.with_name("__main__.py").exists()


if __name__ == "__main__":
    main()
