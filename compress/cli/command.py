"""Parts that all commands share: ``-q`` and ``-v``, the configuration file, and the link to the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from compress.cli.loudness import Loudness, loudness, loudness_options
from compress.cli.saying import tell

#: Key of a context for the name of the configuration file that was read.
_FILE = "compress.configuration"


#: Takes a command's parameters, and returns what the same command takes over after an interruption; None for nothing.
Resumes = Callable[[dict[str, Any]], str | None]


class _Shared(click.Command):
    """The parts that commands and groups of commands share.

    Args:
        resumes: Tells what the same command takes over after an interruption; None where it always begins anew.
        **settings: Further settings of :class:`click.Command`.
    """

    def __init__(self, *arguments: Any, resumes: Resumes | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.resumes = resumes
        self.params.extend(loudness_options())

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line; what it leaves out is taken from the configuration file, if there is one."""
        completes = extra.get("resilient_parsing", False)  # for a shell that completes what is being typed
        if not _is_top(parent) or completes or {"-h", "--help"} & set(args):
            return super().make_context(info_name, args, parent, **extra)
        from compress.cli.configuration import configured

        assert parent is not None
        configuration = configured(self, str(info_name), parent)
        context = super().make_context(
            info_name, args, parent, default_map=dict(configuration.values), **extra
        )
        context.meta[_FILE] = configuration.file
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Tell what the configuration file set and, where it was asked for, the versions; then run the command."""
        parameters = [parameter for parameter in self.params if _is_from_file(ctx, parameter)]
        if parameters:
            texts = ", ".join(f"{parameter.opts[-1]} {_shown(ctx, parameter)}" for parameter in parameters)
            tell(f"{ctx.meta[_FILE]}: {texts}")
        if loudness() is Loudness.VERBOSE:
            from compress.core.versions import versions

            tell(", ".join(f"{name} {version}" for name, version in versions().items()))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            resume = None if self.resumes is None else self.resumes(ctx.params)
            raise KeyboardInterrupt(*([] if resume is None else [resume])) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where the documentation is."""
        super().format_epilog(ctx, formatter)
        format_documentation(formatter)


class Command(_Shared):
    """A command."""


class Group(_Shared, click.Group):
    """A command that has further ones below it."""

    command_class = Command


def format_documentation(formatter: click.HelpFormatter) -> None:
    """Write where the documentation is: the address that the package names, else the directory of this checkout."""
    address = documentation()
    if address is not None:
        formatter.write_paragraph()
        formatter.write_text(f"Documentation: {address}")


def documentation() -> str | None:
    """Return where the documentation is; None where this installation does not tell."""
    from importlib.metadata import metadata

    for entry in metadata("compress-toolkit").get_all("Project-URL") or []:
        name, _, address = entry.partition(", ")
        if name.casefold() == "documentation":
            return str(address)
    page = Path(__file__).resolve().parents[2] / "docs" / "index.md"
    return str(page) if page.is_file() else None


def _is_top(parent: click.Context | None) -> bool:
    """Whether the parent is the root, whose commands have tables in the file, and the file is to be read."""
    return parent is not None and parent.parent is None and not parent.params.get("no_config")


def _is_from_file(ctx: click.Context, parameter: click.Parameter) -> bool:
    return (
        parameter.name is not None and ctx.get_parameter_source(parameter.name) is ParameterSource.DEFAULT_MAP
    )


def _shown(ctx: click.Context, parameter: click.Parameter) -> str:
    value = (ctx.default_map or {}).get(str(parameter.name))
    return (
        " ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
