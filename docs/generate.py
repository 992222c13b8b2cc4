"""The reference pages, made from the code: commands, options, TOML keys, exit codes and schemas are written once.

MkDocs calls :func:`on_files` when it builds the documentation, so nothing generated lies in the repository.
``python docs/generate.py DIRECTORY`` writes the same pages to a directory.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import toml_pages
from page_text import default_text, indented, inline, prose, sentence

from compress.api import build_options, student_options
from compress.api import options as verbs
from compress.cli import compress as root
from compress.core.moved import GONE_IN, MOVED, RENAMED
from compress.core.options import KEY, Options, declared_in, description, flag_of, option_fields
from compress.records.schemas import NAMES, schema_text

#: What every generated page ends with.
NOTE = "\n<!-- Made by docs/generate.py from the code: change the code, not this page. -->\n"

#: The Python verbs: name, options class, the class of its result, and the command that does the same.
VERBS = (
    ("optimize", verbs.OptimizeOptions, "compress.api.optimize.OptimizeResult", "optimize"),
    ("plan", verbs.OptimizeOptions, "compress.api.plan.PlanResult", "optimize"),
    ("benchmark", verbs.BenchmarkOptions, "compress.api.benchmark.BenchmarkResult", "benchmark"),
    ("quantize", verbs.QuantizeOptions, "compress.api.quantize.QuantizeResult", "quantize"),
    ("prune", verbs.PruneOptions, "compress.api.prune.PruneResult", "prune"),
    ("distill", student_options.DistillOptions, "compress.api.distill.DistillResult", "distill"),
    (
        "choose_student",
        student_options.ChooseStudentOptions,
        "compress.api.choose_student.StudentResult",
        "distill",
    ),
)

#: The Python verbs on builds and graphs, in the same form; a profile is told of among the files and values.
BUILD_VERBS = (
    ("profile", build_options.ProfileOptions, None, "profile"),
    ("gate_build", build_options.GateOptions, "compress.api.gate.GateResult", "gate"),
    ("inspect", build_options.InspectOptions, "compress.api.inspect.InspectResult", "inspect"),
    ("debug", build_options.DebugOptions, "compress.api.debug.DebugResult", "debug"),
    ("lint_network", build_options.LintOptions, "compress.api.lint.LintResult", "lint"),
)

#: The other verbs on builds, shown by mkdocstrings with their results.
FURTHER_VERBS = (
    "compress.api.several_targets.optimize_targets",
    "compress.api.several_targets.TargetOutcome",
    "compress.api.predict.predict",
    "compress.api.predict.PredictResult",
    "compress.api.report.report",
    "compress.api.explain.explain",
    "compress.reports.explanation.Explanation",
    "compress.reports.explanation.Gain",
)

#: What is read and handed around besides, shown by mkdocstrings.
OBJECTS = (
    "compress.bundle.bundle.load_bundle",
    "compress.bundle.bundle.Bundle",
    "compress.network.network.load_network",
    "compress.data.task.load_task",
    "compress.data.task.Task",
    "compress.target.target.load_target",
    "compress.target.target.list_targets",
    "compress.target.target.Target",
    "compress.recipe.Recipe",
    "compress.search.decision.Choice",
    "compress.search.decision.Limits",
    "compress.search.run_directory.Candidate",
    "compress.records.profile.Profile",
    "compress.errors.CompressError",
)

#: What each schema describes.
SCHEMAS = {
    "profile": "`profile.json` of a bundle, and what `compress profile --json` prints.",
    "manifest": "`manifest.json` of a bundle.",
    "gate": "What `compress gate --json` prints.",
    "optimize": "What `compress optimize --json` prints.",
    "debug": "What `compress debug --json` prints.",
    "explain": "What `compress explain --json` prints.",
    "benchmark": "What `compress benchmark --json` prints.",
    "plan": "What `compress optimize --dry-run --json` prints.",
    "targets": "What `compress optimize --json` prints for several targets.",
    "power-modes": "What `compress profile --power-modes --json` prints.",
    "history": "What `compress history --json` prints.",
    "doctor": "What `compress doctor --json` prints.",
    "predict": "What `compress predict --json` prints.",
    "techniques": "What `compress techniques --json` prints.",
    "cache": "What `compress cache --json` prints.",
}

EXIT_CODES = (
    (0, "Success; the gate's verdict *pass*."),
    (
        1,
        "No build is inside the limits, the gate's verdict is *fail*, or the target's runtime refuses the network.",
    ),
    (2, "Something that was given cannot be used: an option, a file, a recipe, a target."),
    (3, "The gate's verdict is *inconclusive*: the data cannot decide."),
    (4, "The target, its back end or the board is not available on this machine."),
    (5, "A defect of compress itself: please report it."),
    (
        130,
        "Interrupted, as by Ctrl-C. `optimize`, `prune` and `distill` say what the same command takes over; the others "
        "begin anew.",
    ),
)


def pages() -> dict[str, str]:
    """Every generated page: its path below ``docs/``, and its Markdown."""
    made = {
        "reference/commands/index.md": _command_list(),
        "reference/python.md": _python(),
        "reference/recipe.md": toml_pages.recipe(),
        "reference/target.md": toml_pages.target(),
        "reference/policy.md": toml_pages.policy(),
        "reference/data-file.md": toml_pages.data_file(),
        "reference/exit-codes.md": _exit_codes(),
        "reference/schemas.md": _schemas(),
        "reference/moved.md": _moved(),
    }
    for name in _commands():
        made[f"reference/commands/{name}.md"] = _command_page(name)
    return {path: text.rstrip() + "\n" + NOTE for path, text in made.items()}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages; MkDocs calls it, see https://www.mkdocs.org/user-guide/configuration/#hooks."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave out of fences what is for the tests alone: ``notest``, ``slow`` and the reason; MkDocs calls it."""
    return re.sub(r'^( *```+\w+) (?:notest|slow)(?: reason="[^"]*")?$', r"\1", markdown, flags=re.MULTILINE)


# Commands


def _commands() -> list[str]:
    with click.Context(root) as context:
        return root.list_commands(context)


def _command_list() -> str:
    with click.Context(root, info_name="compress") as context:
        rows = [
            f"| [`compress {name}`]({name}.md) | {inline(root.commands_help[name])} |"
            for name in root.list_commands(context)
        ]
    intro = (
        "# Commands\n\nEvery command has `--help`. Those that print results have `--json`, which prints one JSON "
        "object for programs; its form is in [JSON schemas](../schemas.md). "
        "What the exit status means is in [Exit codes](../exit-codes.md).\n\n"
    )
    return intro + "| command | what it does |\n|---|---|\n" + "\n".join(rows)


def _command_page(name: str) -> str:
    with click.Context(root, info_name="compress") as above:
        command = root.get_command(above, name)
        assert command is not None
        return f"# compress {name}\n\n" + "\n".join(_command(command, f"compress {name}", above))


def _command(command: click.Command, path: str, above: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=path.split()[-1], parent=above)
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield f"{prose(inspect.cleandoc(command.help or ''))}\n"
    grouped: dict[str, list[click.Option]] = {}
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            grouped.setdefault(getattr(parameter, "group", None) or "Other options", []).append(parameter)
    for title, options in sorted(grouped.items(), key=lambda group: group[0] == "Other options"):
        yield f"## {title}\n"
        for option in options:
            record = option.get_help_record(context)
            assert record is not None
            yield f"`{record[0]}`\n:   {inline(record[1])}\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield f"## {path} {name}\n"
            yield from (
                line.replace("## Other options", "### Options")
                for line in _command(below, f"{path} {name}", context)
            )


# Python


def _python() -> str:
    parts = [
        "# Python\n\nThe verbs of the command line as functions. They take the same options under the same names, "
        "as keywords: `--max-drop 0.5` is `max_drop=0.5`. An error is a `CompressError` whose text is the line that "
        "the command prints. The files and values that the functions hand around follow after them.\n"
    ]
    parts.extend(part for verb in VERBS for part in _verb(*verb))
    parts.append(
        "## Verbs on builds and graphs\n\nThey do what the commands of their names do; those of `compress gate` and "
        "`compress lint` are `gate_build` and `lint_network`, since `compress.gate` and `compress.lint` are packages. "
        "All are imported from `compress` itself: `compress.profile(…)`.\n"
    )
    parts.extend(part for verb in BUILD_VERBS for part in _verb(*verb))
    parts.extend(f"::: {name}\n    options: {{heading_level: 3}}\n" for name in FURTHER_VERBS)
    parts.append("## Files and values\n")
    parts.extend(f"::: {name}\n    options: {{heading_level: 3}}\n" for name in OBJECTS)
    return "\n".join(parts)


def _verb(name: str, kind: type[Options], result: str | None, command: str) -> Iterator[str]:
    """The section about a verb: its call, its options in groups, and its result.

    Args:
        name: Name in Python.
        kind: The options class.
        result: The class of the result, for mkdocstrings; None where it is told elsewhere.
        command: Name of the command that does the same.
    """
    function = getattr(importlib.import_module("compress"), name)
    yield f"## {name}\n\n```text\n{_call(name, kind)}\n```\n"
    doc = inspect.unwrap(function).__doc__ or ""
    yield prose(inspect.cleandoc(doc).partition("\n\nArgs:")[0]) + "\n"
    title = None
    for field in option_fields(kind):
        group = declared_in(kind, field.name).TITLE
        if group != title:
            yield f"**{group}**\n"
            title = group
        default = default_text(field, said=field.metadata[KEY].default_text)
        text = inline(description(field) + default)
        yield f"`{field.name}`\n:   {text} Command line: {_flags(command, flag_of(kind, field.name))}.\n"
    if result is not None:
        yield f"::: {result}\n    options: {{heading_level: 3}}\n"


def _flags(command: str, flag: str) -> str:
    """The flag of an option as code; where the command has several in its place, as ``--image-size``, all of them."""
    with click.Context(root) as above:
        found = root.get_command(above, command)
        assert found is not None
        names = [name for each in found.params for name in each.opts]
    others = [name for name in names if name.startswith(flag.removesuffix("options"))]
    return ", ".join(f"`{name}`" for name in ([flag] if flag in names else others))


#: The first argument of verbs that take no model.
_FIRST = {
    "distill": "teacher",
    "choose_student": "teacher",
    "profile": "artifact",
    "gate_build": "candidate",
}


def _call(name: str, kind: type[Options]) -> str:
    needed = [f"{field.name}=…" for field in option_fields(kind) if field.default is dataclasses.MISSING]
    first = _FIRST.get(name, "model")
    return f"compress.{name}({', '.join([first, *needed, '…'])})"


# Exit codes, schemas, names


def _exit_codes() -> str:
    from compress import errors

    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    kinds = [kind for kind in found if issubclass(kind, errors.CompressError)]
    by_code: dict[int, list[str]] = {}
    for kind in kinds:
        if kind is not errors.CompressError:
            by_code.setdefault(kind.exit_code, []).append(f"`{kind.__name__}`")
    rows = [f"| {code} | {text} | {', '.join(by_code.pop(code, []))} |" for code, text in EXIT_CODES]
    assert not by_code, f"exit codes without a meaning: {by_code}"
    classes = "\n".join(
        f"`{kind.__name__}`\n:   {inline((kind.__doc__ or '').strip().splitlines()[0])}\n" for kind in kinds
    )
    return (
        "# Exit codes and errors\n\nEvery error is one line on standard error: what was wanted, what was found, what "
        "to do next.\n\n| exit code | meaning | error classes in Python |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n## Error classes\n\nAll are in `compress.errors`.\n\n"
        + classes
    )


def _schemas() -> str:
    text = (
        "# JSON schemas\n\n`compress report --schema NAME` prints a schema (draft 2020-12). Files and printed objects "
        "carry the number of their form as `schema`; a later release that changes a form raises the number.\n\n"
    )
    for name in NAMES:
        schema = json.loads(schema_text(name))
        whole = indented(json.dumps(schema, indent=2, ensure_ascii=False))
        text += f"## {name}\n\n{SCHEMAS[name]}\n\n{_properties(schema)}\n"
        text += f'??? note "The whole schema"\n\n    ```json\n{whole}\n    ```\n\n'
    return text


def _properties(schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", [])
    lines = []
    for key, value in schema.get("properties", {}).items():
        kind = value.get("type") or (
            "one of " + ", ".join(map(str, value["enum"])) if "enum" in value else ""
        )
        kind = " or ".join(kind) if isinstance(kind, list) else kind
        about = "; ".join(filter(None, (kind, "" if key in needed else "may be absent")))
        text = sentence(inline(value.get("description", "")))
        lines.append(f"`{key}`\n:   {text} {f'*({about})*' if about else ''}".rstrip() + "\n")
    return "\n".join(lines)


def _moved() -> str:
    rows = [f"| `compress.{old}` | `compress.{new}` |" for old, new in MOVED.items()]
    names = [
        f"| `{old}` | `compress.{new.replace(':', '.') if ':' in new else f'{module}.{new}'}` |"
        for (module, old), new in RENAMED.items()
    ]
    return (
        f"# Names that have moved\n\nOld names of modules and classes still import and warn; they are gone in "
        f"{GONE_IN}. The command line has kept all its commands.\n\n## Modules\n\n| was | is |\n|---|---|\n"
        + "\n".join(rows)
        + "\n\n## Classes and functions\n\n| was | is |\n|---|---|\n"
        + "\n".join(names)
    )


def main() -> None:
    """Write every generated page below the directory that the command line names."""
    parser = argparse.ArgumentParser("python docs/generate.py", description=__doc__)
    parser.add_argument("directory", type=Path, help="directory below which the pages are written")
    out: Path = parser.parse_args().directory
    for path, text in pages().items():
        file = out / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
