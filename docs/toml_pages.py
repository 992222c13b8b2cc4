"""Reference pages about files in TOML: recipes, targets, policies, and the data beside images."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Mapping

from page_text import default_text, inline, prose, sentence

from compress.core.docstrings import attributes_of
from compress.core.options import KEY, description
from compress.core.toml_schema import Field, List, Table


def recipe() -> str:
    """Return the page about recipes, with the settings of every technique."""
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
        text += f"## {name}\n\n{prose(module)}\n\n{_fields_of(kind)}\n"
    return text


def _fields_of(kind: type) -> str:
    """Each setting of a technique with its meaning and default."""
    told = attributes_of(kind)
    lines = []
    for field in dataclasses.fields(kind):
        if KEY in field.metadata:
            text = description(field) + default_text(field, field.metadata[KEY].default_text)
        else:
            text = sentence(told.get(field.name, "")) + default_text(field)
        lines.append(f"`{field.name}`\n:   {inline(text)}\n")
    return "\n".join(lines) if lines else "No settings.\n"


def target() -> str:
    """Return the page about files of targets, with every key."""
    from compress.target.keys import KEYS
    from compress.target.target import Target, list_targets

    rows = [f"| `{target.name}` | {inline(target.description)} |" for target in list_targets()]
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


def policy() -> str:
    """Return the page about the policy of a gate, with every key."""
    from compress.gate.policy import _FIELDS, GatePolicy

    return (
        "# Gate policy\n\n`compress gate --policy gate.toml` reads which checks are made and what each allows. Keys "
        'that are left out have their default.\n\n```toml title="gate.toml"\n'
        'checks = ["accuracy", "slices", "churn", "latency", "size"]\nmax_drop_points = 0.5\n'
        "max_slowdown_percent = 3.0\n```\n\n" + _keys(_FIELDS, attributes_of(GatePolicy), GatePolicy())
    )


def data_file() -> str:
    """Return the page about ``compress-data.toml``, with every key."""
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
        meaning = sentence(told.get(key, ""))
        wanted = sentence(field.describe()[:1].upper() + field.describe()[1:])
        default = getattr(defaults, key, None)
        default = f" Default: `{json.dumps(default)}`." if default is not None else ""
        needed = " It must be given, here or in the file that this one `extends`." if field.required else ""
        lines.append(f"`{shown}`\n:   {inline(f'{meaning} {wanted}'.strip())}{needed}{default}\n")
        if isinstance(inner, Table) and len(inner.fields) <= 12:
            lines.append(_keys(inner.fields, {}, None, f"{within}{key}."))
    return "\n".join(lines)
