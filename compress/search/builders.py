"""The seam through which a search hands out the making of builds, so that it need not know who makes them.

A search decides one recipe after another, and each decision may follow from the last measurement. So what is handed
out is the making of a build, and what may be wanted next is announced before: who has other machines makes it there
meanwhile. What is tried, and in which order, is the same whoever makes it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.closeable import Closeable

if TYPE_CHECKING:
    from compress.backends.base import Artifact
    from compress.recipe import Recipe
    from compress.techniques.base import Context

#: Applies and compiles a recipe in this process: its arguments are those of :meth:`Builder.build`.
Build = Callable[["Recipe", "Context", Path], "Artifact"]


class Builder(Closeable):
    """Makes the builds of a search; a context manager that gives up what was announced and never asked for."""

    def expect(self, certain: Sequence[Recipe], possible: Sequence[Recipe]) -> None:
        """Learn which recipes come next, so that they may be made before they are asked for.

        Args:
            certain: Recipes that are tried whatever is measured, in their order, unless the time is over before.
            possible: Recipes that are tried where measurements ask for them.
        """
        return

    @abstractmethod
    def build(self, recipe: Recipe, context: Context, directory: Path) -> Artifact:
        """Apply a recipe's techniques, and compile the result.

        Args:
            recipe: The recipe.
            context: Data and tools of its techniques; their reports are in it afterwards, also where one fails.
            directory: Empty directory for the build's files.

        Raises:
            Exception: The recipe cannot be applied, or its build not be made.
        """

    def close(self) -> None:
        """Give up all that was announced; may be called twice."""
        return


class BuilderHere(Builder):
    """This process makes a build when it is asked for, and nothing before.

    Args:
        make: Function that applies and compiles a recipe.
    """

    def __init__(self, make: Build) -> None:
        self._make = make

    def build(self, recipe: Recipe, context: Context, directory: Path) -> Artifact:
        """See :meth:`Builder.build`."""
        return self._make(recipe, context, directory)
