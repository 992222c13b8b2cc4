"""Plain words: what can be checked of them mechanically, in docstrings and in the help of every command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from compress.cli import compress

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "compress").rglob("*.py"))

#: Descriptions without a subject: a reader has to guess what is spoken of.
ELLIPTIC = re.compile(
    r"Of [^.]|That (?!is|has)|Alike\b|Likewise\b|None likewise|Which\.|Any\.|Whose |The same\.|The run's|"
    r"What it takes\.|What it gives\.|What it is\.|What was given|Where it is\.|As it was given|"
    r"As the user names|See above|The inverse"
)
#: First lines that say nothing about what the object is or does.
RIDDLES = (
    "As JSON holds it",
    "The inverse",
    "The same.",
    "Likewise",
    "Alike",
    "None where",
    "Those of",
    "That of",
)


def docstrings(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield the name and the docstring of each module, class and function, and whether it is public."""

    def below(node: ast.AST, public: bool) -> Iterator[tuple[str, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                known = public and (not child.name.startswith("_") or child.name.startswith("__"))
                text = ast.get_docstring(child)
                if text is not None:
                    yield f"{path.relative_to(ROOT)}:{child.lineno} {child.name}", text, known
                yield from below(child, known)
            else:
                yield from below(child, public)

    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree)
    if text is not None:
        yield f"{path.relative_to(ROOT)}:1", text, True
    yield from below(tree, True)


def entries(text: str) -> Iterator[str]:
    """Yield the description of each argument, attribute and exception in a docstring of Google's style."""
    for line in text.splitlines():
        found = re.match(r"\s+[*\w]+: (.*)", line)
        if found is not None:
            yield found[1]


def commands(group: click.Group, name: str = "compress") -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group, with its whole name."""
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        yield f"{name} {each}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {each}")


COMMANDS = dict(commands(compress))


def test_docstrings_and_commands_are_found() -> None:
    assert len(MODULES) > 400
    assert {"compress optimize", "compress gate", "compress targets show"} <= set(COMMANDS)


def test_no_description_lacks_its_subject() -> None:
    elliptic = [
        f"{name}: {description}"
        for path in MODULES
        for name, text, _ in docstrings(path)
        for description in entries(text)
        if ELLIPTIC.match(description)
    ]
    assert elliptic == []


def test_no_docstring_begins_with_a_riddle() -> None:
    riddles = [
        f"{name}: {text.splitlines()[0]}"
        for path in MODULES
        for name, text, _ in docstrings(path)
        if text.startswith(("Of ", *RIDDLES))
    ]
    assert riddles == []


def test_first_lines_of_public_docstrings_are_sentences() -> None:
    unended = [
        f"{name}: {text.splitlines()[0]}"
        for path in MODULES
        for name, text, public in docstrings(path)
        if public and not text.splitlines()[0].endswith((".", "?", "::", ":"))
    ]
    assert unended == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_says_what_it_is(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            text = parameter.help or ""
            assert len(text.split()) >= 2, parameter.opts
            assert not text.startswith(("Of ", "What ", "How ", "Which ", "As ", "The same")), parameter.opts
            assert text[0].isupper(), parameter.opts


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example_that_its_parser_takes(name: str) -> None:
    command = COMMANDS[name]
    text = (command.help or "").replace("\b\n", "")
    example = re.search(r"Example:\n\s+(compress .*)", text)
    assert example is not None
    words = example[1].split()
    depth = len(name.split())
    assert words[:depth] == name.split()
    if not isinstance(command, click.Group):
        command.make_context(name, words[depth:], resilient_parsing=False)
