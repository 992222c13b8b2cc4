"""The command line: a group that imports commands lazily, one file for each command, and errors in one line."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import click

from compress.cli.saying import say
from compress.errors import CompressError


class UnreadError(Exception):
    """Nobody reads what a command prints; Click would end the process for the system's own error, without a word."""


@contextmanager
def _unread_told() -> Iterator[None]:
    """Let a pipe whose reader has gone leave Click's own handling as an error that it does not know."""
    try:
        yield
    except BrokenPipeError as error:
        raise UnreadError from error


class LazyGroup(click.Group):
    """Group that imports a command's file only when it runs or its own help is asked for."""

    commands_help: ClassVar[dict[str, str]] = {
        "optimize": "Find the fastest build of a network that keeps its accuracy.",
        "quantize": "Quantize a network for a target, without search.",
        "prune": "Remove channels of a network, so that it is faster on the target.",
        "distill": "Train a smaller network to answer as a trained one does.",
        "benchmark": "Measure a network in every back end and precision that is here.",
        "profile": "Measure accuracy and latency of a bundle or an ONNX file.",
        "predict": "Run one sample through a bundle, and show what it answers.",
        "debug": "Find the layer of a quantized network that departs from the float one.",
        "gate": "Accept or reject a build against a baseline: pass, fail or inconclusive.",
        "history": "Show trends of recorded profiles, and mark changes.",
        "inspect": "Show layers, shapes, parameters, MACs and bytes of a network.",
        "lint": "Check a network against what a target's runtime accepts.",
        "compare": "Put the figures of builds side by side.",
        "explain": "Tell what each technique bought, what was rejected, and what would buy more.",
        "report": "Write a report of a run: HTML, Markdown, CSV, a plot or a model card.",
        "doctor": "Show which targets can be measured, and how to install what is missing.",
        "targets": "List the targets, or explain one.",
        "techniques": "List the techniques, or explain one and its settings.",
        "plugins": "List what can be named, and which installed package brings it.",
        "cache": "List what compress keeps on this machine, with sizes, and remove it.",
        "demo": "Train a small network on real digits and optimize it.",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(self.commands_help)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.commands_help:
            return None
        module = importlib.import_module(f"compress.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Read the command line, which prints the help where that is asked for."""
        with _unread_told():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _unread_told():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of a name; a name that is not known is refused with the nearest one."""
        name = args[0]
        if not name.startswith("-") and name not in self.commands_help:
            from compress.core.suggestions import did_you_mean

            near = did_you_mean(name, self.commands_help)
            ctx.fail(f"no such command '{name}'{'; ' + near if near else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.commands_help.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where the documentation is."""
        from compress.cli.command import format_documentation

        format_documentation(formatter)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compress-toolkit", prog_name="compress")
@click.option(
    "--no-config", is_flag=True, help="Read no compress.toml and no [tool.compress] of pyproject.toml."
)
def compress(no_config: bool) -> None:
    """Compress a trained network: find the fastest build for a target that keeps its accuracy.

    \b
    Examples:
      compress demo
      compress optimize model.pt2 --data val/ --target cpu

    Exit codes: 0 success or pass, 1 fail, 2 usage, 3 inconclusive, 4 target or back end not available, 5 internal
    error, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; every error ends as one line on standard error and a documented exit code.

    Args:
        arguments: The command line after ``compress``. None takes the arguments of this process, and keeps
            its standard output for the result alone.
    """
    from compress.cli.process import answer, close_standard_output, keep_standard_output

    _print_anything()
    if arguments is not None:
        return _run(arguments)
    try:
        keep_standard_output()
        code = _run(None)
        close_standard_output()
    except CompressError as error:
        code = _fail(str(error), error.exit_code)
    answer(code)
    return code


def _run(arguments: list[str] | None) -> Any:
    from compress.cli.process import is_unread

    try:
        return compress.main(args=arguments, prog_name="compress", standalone_mode=False) or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort as error:
        return _fail(_interrupted(error.__cause__ or error), 130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _fail(_told(error), 2)
    except CompressError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(_interrupted(error), 130)
    except UnreadError as error:
        return 0 if is_unread() else _internal(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: told in one line, with where to report it
        return _internal(error)
    except BaseException as error:  # noqa: BLE001 - SystemExit and its like, which none of our own code raises
        return _fail(_ended(error), 2)


def _print_anything() -> None:
    """Let a terminal show the number of a character that it cannot print, such as in a name that is not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _told(error: click.ClickException) -> str:
    """Return Click's four-line message as one line."""
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message}; see `{context.command_path} --help`"


def _interrupted(error: BaseException) -> str:
    """Return what is told of an interruption: what the same command takes over, where it takes anything over."""
    return f"interrupted; {error.args[0]}" if error.args and error.args[0] else "interrupted"


def _ended(error: BaseException) -> str:
    """Return an error for code of the user, or of a package it uses, that tried to end the process, and where."""
    import traceback

    *_, last = traceback.extract_tb(error.__traceback__)
    return (
        f"wanted code that returns or raises an error; found {type(error).__name__}({error}), raised at "
        f"{last.filename}:{last.lineno} in {last.name}; take out what ends the process there"
    )


def _internal(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="compress-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    return _fail(
        f"internal: {type(error).__name__}: {' '.join(str(error).split())[:300]}; "
        f"this is a defect of compress: please report it with {log.name} and the command",
        5,
    )


def _fail(message: str, code: int) -> int:
    say(f"error: {message}", err=True)
    return code
