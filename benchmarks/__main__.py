"""One runner for all benchmarks: ``python -m benchmarks list``, and ``python -m benchmarks run NAME [ARGUMENT…]``."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import click

from compress.core.suggestions import did_you_mean

HERE = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Every benchmark that can be run, and the first line of what it says about itself."""
    found = {}
    for path in sorted([*HERE.glob("*.py"), *HERE.glob("*/*.py")]):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(HERE).with_suffix("").parts).removesuffix(".__main__")
        if path.name != "__main__.py" and 'if __name__ == "__main__":' not in text:
            continue
        if name != "__main__":
            found[name] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


@click.group()
def main() -> None:
    """Run the benchmarks of compress; what they printed stands in benchmarks/README.md."""


@main.command("list")
def list_all() -> None:
    """List every benchmark with what it measures."""
    for name, told in benchmarks().items():
        click.echo(f"{name:32} {told}")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(name: str, arguments: tuple[str, ...]) -> None:
    """Run the benchmark NAME with its own arguments; --help shows them."""
    known = benchmarks()
    if name not in known:
        near = did_you_mean(name, known) or "python -m benchmarks list names them"
        raise click.UsageError(f"no benchmark {name}; {near}")
    sys.argv = [f"benchmarks {name}", *arguments]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
