"""Rich's console and tables for names from files: texts are never read as markup or terminal commands."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from compress.core.plain_text import plain


class PlainConsole(Console):
    """Console that prints each text on one line, character by character."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """See :meth:`rich.console.Console.print`."""
        settings = {"highlight": False, **settings}
        super().print(
            *(Text(plain(printed)) if isinstance(printed, str) else printed for printed in objects),
            **settings,
        )

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled; Rich would end the process with 1."""
        raise  # Rich calls this where it has caught the error


class PlainTable(Table):
    """Table that shows each text unchanged; a cell of several lines is a :class:`rich.text.Text`."""

    def add_row(self, *renderables: RenderableType | None, **settings: Any) -> None:
        """See :meth:`rich.table.Table.add_row`."""
        super().add_row(*map(_shown, renderables), **settings)

    def add_column(self, header: RenderableType = "", footer: RenderableType = "", **settings: Any) -> None:
        """See :meth:`rich.table.Table.add_column`."""
        super().add_column(_shown(header) or "", _shown(footer) or "", **settings)


def _shown(cell: RenderableType | None) -> RenderableType | None:
    return Text(plain(cell)) if isinstance(cell, str) else cell
