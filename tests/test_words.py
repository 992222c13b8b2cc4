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
ROOMS = ("compress", "benchmarks", "fuzz")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

#: Descriptions without a subject: a reader has to guess what is spoken of.
ELLIPTIC = re.compile(
    r"Of [^.]|That (?!is|has)|What |Where |Alike\b|Likewise\b|None likewise|Which\.|Any\.|Whose |The same\.|The run's|"
    r"What it takes\.|What it gives\.|What it is\.|What was given|Where it is\.|As it was given|"
    r"As the user names|See above|The inverse"
)
#: First words of a docstring without a subject or a verb: a phrase that hangs on a word that is not there.
HANGING = re.compile(r"(Of|That|What|Where|How|As|With|Who|Why) ")
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

#: Local names that say nothing of what the value is.
VAGUE = frozenset(("found", "each", "told", "own"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


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


def local_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each local binding; parameters of public functions are names of an interface."""

    def below(node: ast.AST, local: bool, public: bool) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            inside, reached = local, public
            match child:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    if local:
                        yield child.lineno, name
                    reached = public and (not name.startswith("_") or name.endswith("__"))
                case ast.Lambda():
                    reached = False
                case ast.Name(id=name, ctx=ast.Store()) if local:
                    yield child.lineno, name
                case (
                    ast.ExceptHandler(name=str(name))
                    | ast.MatchAs(name=str(name))
                    | ast.MatchStar(name=str(name))
                ):
                    if local:
                        yield child.lineno, name
                case ast.MatchMapping(rest=str(name)) if local:
                    yield child.lineno, name
                case ast.alias() if local:
                    yield child.lineno, child.asname or child.name.partition(".")[0]
            if isinstance(child, ast.ClassDef):
                inside = False
            elif isinstance(child, FUNCTIONS):
                if local or not reached:
                    yield from ((child.lineno, argument.arg) for argument in arguments_of(child))
                inside, reached = True, False
            yield from below(child, inside or isinstance(child, COMPREHENSIONS), reached)

    yield from below(tree, False, True)


def arguments_of(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.arg]:
    """Return all parameters of a function."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]


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
        if text.startswith(RIDDLES) or HANGING.match(text)
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


def test_local_names_say_what_the_value_is() -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in MODULES
        if path.is_relative_to(ROOT / "compress")
        for line, name in local_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in VAGUE
    ]
    assert vague == []


@pytest.mark.parametrize(
    "code",
    [
        "def function():\n    found = 1",
        "def function():\n    found: int = 1",
        "def function():\n    first, (found, *last) = 1, (2, 3)",
        "def function():\n    for found in (): pass",
        "def function():\n    with open('a') as found: pass",
        "def function():\n    try: pass\n    except OSError as found: pass",
        "def function():\n    if found := 1: pass",
        "def function():\n    import a as found",
        "def function():\n    match 1:\n        case int() as found: pass",
        "def function():\n    match 1:\n        case [1, *found]: pass",
        "def function():\n    match 1:\n        case {1: 2, **found}: pass",
        "def function():\n    def found(): pass",
        "def function():\n    def inner(found): pass",
        "def _function(*, found): pass",
        "class _Private:\n    def method(self, found): pass",
        "class Public:\n    def method(self):\n        found = 1",
        "ALL = [found for found in ()]",
        "KEY = lambda found: found",
    ],
)
def test_bindings_of_every_kind_are_seen(code: str) -> None:
    assert "found" in [name for _, name in local_names(ast.parse(code))]


@pytest.mark.parametrize(
    "code",
    [
        "def function(found): pass",
        "class Public:\n    found: int = 1\n    def __init__(self, found): self.found = found",
        "def function():\n    return dict(found=1)",
        "def function():\n    class Inner:\n        found: int = 1",
        "found = 1",
    ],
)
def test_names_of_an_interface_are_no_local_names(code: str) -> None:
    assert "found" not in [name for _, name in local_names(ast.parse(code))]


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
