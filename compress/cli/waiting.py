"""Commands that may run the user's code: data, metrics, factories, families, pickles."""

from __future__ import annotations

from typing import Any

import click

from compress.cli.command import Command
from compress.cli.process import waited_for


class WaitedFor(Command):
    """A command run in a child process where it is given code, so that ``os._exit(0)`` there is no success."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, here or in a process of its own."""
        if _may_run_code(ctx.params) and (answered := waited_for()) is not None:
            return answered
        return super().invoke(ctx)


def _may_run_code(parameters: dict[str, Any]) -> bool:
    """Whether an argument may be ``module:callable``, alone or after the name of an output, or a pickle.

    Waiting for a command that runs no such code costs nothing.
    """
    texts = (
        text_value
        for value in parameters.values()
        for text_value in (value if isinstance(value, tuple) else (value,))
    )
    return bool(parameters.get("trust_pickle")) or any(
        isinstance(text, str) and ":" in text for text in texts
    )
