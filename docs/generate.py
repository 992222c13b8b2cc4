"""The reference pages, made from the code: commands, options, TOML keys, exit codes and schemas are written once.

MkDocs calls :func:`on_files` when it builds the documentation, so nothing generated lies in the repository.
``python docs/generate.py DIRECTORY`` writes the same pages to a directory.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from compress.api import options as verbs
from compress.cli import compress as root
from compress.core.docstrings import attributes_of
from compress.core.moved import GONE_IN, MOVED, RENAMED
from compress.core.options import KEY, Options, declared_in, description, flag_of, option_fields
from compress.core.toml_schema import Field, List, Table
from compress.records.schemas import NAMES, schema_text

#: What every generated page ends with.
NOTE = "\n<!-- Made by docs/generate.py from the code: change the code, not this page. -->\n"

#: The Python verbs: name, options class, the class of its result, and the command that does the same.
VERBS = (
    ("optimize", verbs.OptimizeOptions, "compress.api.optimize.OptimizeResult", "optimize"),
    ("quantize", verbs.QuantizeOptions, "compress.api.quantize.QuantizeResult", "quantize"),
    ("prune", verbs.PruneOptions, "compress.api.prune.PruneResult", "prune"),
    ("distill", verbs.DistillOptions, "compress.api.distill.DistillResult", "distill"),
    ("choose_student", verbs.ChooseStudentOptions, "compress.api.choose_student.StudentResult", "distill"),
)

#: The verbs on builds and graphs that exist already, shown by mkdocstrings with their results.
FURTHER_VERBS = (
    "compress.api.profile.profile",
    "compress.api.gate.gate_build",
    "compress.api.gate.GateResult",
    "compress.api.predict.predict",
    "compress.api.predict.PredictResult",
    "compress.api.report.report",
    "compress.api.inspect.inspect",
    "compress.api.inspect.InspectResult",
    "compress.api.lint.lint_network",
    "compress.api.lint.LintResult",
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
    "history": "What `compress history --json` prints.",
    "doctor": "What `compress doctor --json` prints.",
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
    (130, "Interrupted, as by Ctrl-C. The same command goes on where it stopped, where the command says so."),
)


def pages() -> dict[str, str]:
    """Every generated page: its path below ``docs/``, and its Markdown."""
    made = {
        "reference/commands/index.md": _command_list(),
        "reference/python.md": _python(),
        "reference/recipe.md": _recipe(),
        "reference/target.md": _target(),
        "reference/policy.md": _policy(),
        "reference/data-file.md": _data_file(),
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
            f"| [`compress {name}`]({name}.md) | {_inline(root.commands_help[name])} |"
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
    yield f"{_prose(inspect.cleandoc(command.help or ''))}\n"
    grouped: dict[str, list[click.Option]] = {}
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            grouped.setdefault(getattr(parameter, "group", None) or "Other options", []).append(parameter)
    for title, options in sorted(grouped.items(), key=lambda group: group[0] == "Other options"):
        yield f"## {title}\n"
        for option in options:
            record = option.get_help_record(context)
            assert record is not None
            yield f"`{record[0]}`\n:   {_inline(record[1])}\n"
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
    for name, kind, result, command in VERBS:
        function = getattr(importlib.import_module("compress"), name)
        parts.append(f"## {name}\n\n```text\n{_call(name, kind)}\n```\n")
        doc = inspect.unwrap(function).__doc__ or ""
        parts.append(_prose(inspect.cleandoc(doc).partition("\n\nArgs:")[0]) + "\n")
        title = None
        for field in option_fields(kind):
            group = declared_in(kind, field.name).TITLE
            if group != title:
                parts.append(f"**{group}**\n")
                title = group
            default = _default(field, said=field.metadata[KEY].default_text)
            text = _inline(description(field) + default)
            parts.append(
                f"`{field.name}`\n:   {text} Command line: {_flags(command, flag_of(kind, field.name))}.\n"
            )
        parts.append(f"::: {result}\n    options: {{heading_level: 3}}\n")
    parts.append(
        "## Verbs on builds and graphs\n\nThey do what the commands of their names do; those of `compress gate` and "
        "`compress lint` are `gate_build` and `lint_network`, since `compress.gate` and `compress.lint` are packages. "
        "All are imported from `compress` itself: `compress.profile(…)`.\n"
    )
    parts.extend(f"::: {name}\n    options: {{heading_level: 3}}\n" for name in FURTHER_VERBS)
    parts.append("## Files and values\n")
    parts.extend(f"::: {name}\n    options: {{heading_level: 3}}\n" for name in OBJECTS)
    return "\n".join(parts)


def _flags(command: str, flag: str) -> str:
    """The flag of an option as code; where the command has several in its place, as ``--image-size``, all of them."""
    with click.Context(root) as above:
        found = root.get_command(above, command)
        assert found is not None
        names = [name for each in found.params for name in each.opts]
    others = [name for name in names if name.startswith(flag.removesuffix("options"))]
    return ", ".join(f"`{name}`" for name in ([flag] if flag in names else others))


def _call(name: str, kind: type[Options]) -> str:
    needed = [f"{field.name}=…" for field in option_fields(kind) if field.default is dataclasses.MISSING]
    first = "teacher" if name in ("distill", "choose_student") else "model"
    return f"compress.{name}({', '.join([first, *needed, '…'])})"


def _default(field: dataclasses.Field[Any], said: str | None = None) -> str:
    if said is not None or field.default in (dataclasses.MISSING, None, ()):
        return ""
    return f" Default: `{field.default!r}`."


# TOML


def _recipe() -> str:
    from compress.recipe import Step
    from compress.techniques import load_technique, technique_names

    text = """# Recipe

A recipe is a TOML file that names techniques in the order in which they are applied. `compress optimize --recipe FILE`
tries it; a bundle holds the recipe of what was shipped as `recipe.toml`.

```toml title="recipe.toml"
name = "pruned-int8"

[[technique]]
name = "prune"
latency_share = 0.7
timing_precision = "int8"

[[technique]]
name = "distill"
epochs = 4

[[technique]]
name = "quantize"
```

`name`
:   The name shown in tables; unique in a run. It must be given.

`backend`
:   The back end that runs the result, as `openvino`. Default: the target's own.

`[session]`
:   Session options that are part of the recipe, because results depend on them, as `precision = "bf16"`. All others are
    measured.

`[[technique]]`
:   One table for each technique, with its `name` and the settings below. Settings that are left out have their default.

"""
    for name in technique_names():
        kind = type(load_technique(Step(name)))
        module = inspect.getdoc(importlib.import_module(kind.__module__)) or ""
        text += f"## {name}\n\n{_prose(module)}\n\n{_fields_of(kind)}\n"
    return text


def _fields_of(kind: type) -> str:
    """Each setting of a technique with its meaning and default."""
    told = attributes_of(kind)
    lines = []
    for field in dataclasses.fields(kind):
        if KEY in field.metadata:
            text = description(field) + _default(field, field.metadata[KEY].default_text)
        else:
            text = _sentence(told.get(field.name, "")) + _default(field)
        lines.append(f"`{field.name}`\n:   {_inline(text)}\n")
    return "\n".join(lines) if lines else "No settings.\n"


def _target() -> str:
    from compress.target.keys import KEYS
    from compress.target.target import Target, list_targets

    rows = [f"| `{target.name}` | {_inline(target.description)} |" for target in list_targets()]
    return (
        "# Target\n\nA target is a TOML file with the facts of a device. `compress targets` lists the known ones, "
        "`compress targets show NAME` explains one and where its figures come from. A file of your own may start "
        'from a known one:\n\n```toml title="camera.toml"\nextends = "jetson-orin-nano-super"\n'
        'description = "Our camera: an Orin Nano held at 15 W."\npower_max_w = 15\n```\n\n'
        "`compress optimize model.pt --target camera.toml --data val/` then builds for it. "
        "A figure that is not published belongs into `estimated`, and where it comes from into `[source]`.\n\n"
        "## Keys\n\n"
        + _keys(KEYS, attributes_of(Target))
        + "\n## Known targets\n\n| name | what it is |\n|---|---|\n"
        + "\n".join(rows)
    )


def _policy() -> str:
    from compress.gate.policy import _FIELDS, GatePolicy

    return (
        "# Gate policy\n\n`compress gate --policy gate.toml` reads which checks are made and what each allows. Keys "
        'that are left out have their default.\n\n```toml title="gate.toml"\n'
        'checks = ["accuracy", "slices", "churn", "latency", "size"]\nmax_drop_points = 0.5\n'
        "max_slowdown_percent = 3.0\n```\n\n" + _keys(_FIELDS, attributes_of(GatePolicy), GatePolicy())
    )


def _data_file() -> str:
    from compress.data import annotations, image_options
    from compress.metrics import detection_options

    text = (
        "# compress-data.toml\n\nThis file lies in a folder of images and tells how they are prepared, and for "
        "detectors how annotations and outputs are read. All keys are optional; options of the command line win over "
        "it.\n\n"
    )
    for title, fields, kind, start in (
        ("Images", image_options._FIELDS, image_options.ImageOptions, image_options.ImageOptions()),
        ("[annotations]", annotations._FIELDS, annotations.AnnotationOptions, None),
        ("[detections]", detection_options.FIELDS, detection_options.DetectionOptions, None),
    ):
        text += f"## {title}\n\n{_keys(fields, attributes_of(kind), start)}\n"
    return text


def _keys(
    fields: Mapping[str, Field], told: Mapping[str, str], defaults: object = None, within: str = ""
) -> str:
    """A list of TOML keys with what each holds; tables follow with their own keys."""
    lines = []
    for key, field in fields.items():
        inner = field.item if isinstance(field, List) else field
        shown = f"[{within}{key}]" if isinstance(inner, Table) else f"{within}{key}"
        meaning = _sentence(told.get(key, ""))
        wanted = _sentence(field.describe()[:1].upper() + field.describe()[1:])
        default = getattr(defaults, key, None)
        default = f" Default: `{json.dumps(default)}`." if default is not None else ""
        needed = " It must be given, here or in the file that this one `extends`." if field.required else ""
        lines.append(f"`{shown}`\n:   {_inline(f'{meaning} {wanted}'.strip())}{needed}{default}\n")
        if isinstance(inner, Table) and len(inner.fields) <= 12:
            lines.append(_keys(inner.fields, {}, None, f"{within}{key}."))
    return "\n".join(lines)


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
        f"`{kind.__name__}`\n:   {_inline((kind.__doc__ or '').strip().splitlines()[0])}\n" for kind in kinds
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
        whole = _indented(json.dumps(schema, indent=2, ensure_ascii=False))
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
        text = _sentence(_inline(value.get("description", "")))
        lines.append(f"`{key}`\n:   {text} {f'*({about})*' if about else ''}".rstrip() + "\n")
    return "\n".join(lines)


def _moved() -> str:
    rows = [f"| `compress.{old}` | `compress.{new}` |" for old, new in MOVED.items()]
    names = [f"| `{old}` | `compress.{module}.{new}` |" for (module, old), new in RENAMED.items()]
    return (
        f"# Names that have moved\n\nOld names of modules and classes still import and warn; they are gone in "
        f"{GONE_IN}. The command line has kept all its commands.\n\n## Modules\n\n| was | is |\n|---|---|\n"
        + "\n".join(rows)
        + "\n\n## Classes and functions\n\n| was | is |\n|---|---|\n"
        + "\n".join(names)
    )


# Text


def _prose(text: str) -> str:
    """A docstring as Markdown: roles and double backticks become code, indented examples become blocks."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.replace("\b", "")):
        if block.startswith("    "):
            blocks.append(f"```toml\n{inspect.cleandoc(block)}\n```")
        else:
            blocks.append(_inline(block.removesuffix("::") + (":" if block.endswith("::") else "")))
    return "\n\n".join(blocks)


def _inline(text: str) -> str:
    """One paragraph on one line, safe inside a table and a list."""
    text = " ".join(text.split())
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    outside = re.split(r"(`[^`]*`)", text)
    for at in range(0, len(outside), 2):
        outside[at] = (
            outside[at].replace("<", "&lt;").replace("|", "\\|").replace("[", "\\[").replace("*", "\\*")
        )
    return "".join(outside)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!")) else f"{text}."


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def main() -> None:
    """Write every generated page below the directory that the command line names."""
    out = Path(sys.argv[1])
    for path, text in pages().items():
        file = out / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
