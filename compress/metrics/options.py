"""Settings of a metric, as text or in Python: ``miou:ignore=255``, ``load_metric("miou", ignore=255)``.

Text has the form ``NAME:KEY=VALUE,KEY=VALUE``. A comma separates only where a key and ``=`` follow, so that a value may
hold commas; spaces belong to the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from compress.core.toml_schema import Field, Number, check
from compress.errors import MetricError
from compress.metrics.detection_options import DetectionOptions
from compress.metrics.metric import Metric

_SETTINGS = re.compile(r"([a-z][a-z0-9-]*):(\w+=.*)", re.DOTALL)
_NEXT = re.compile(r",(?=\w+=)")


@dataclass(frozen=True)
class NamedMetric:
    """A metric that has a name and may have settings.

    Attributes:
        make: Takes the settings by keyword and gives the metric under its plain name.
        settings: Form of each setting.
        takes_detections: Whether ``make`` also takes ``detections``, which say how a detector's outputs are read.
    """

    make: Callable[..., Metric]
    settings: Mapping[str, Field]
    takes_detections: bool = False

    def with_settings(
        self, settings: Mapping[str, Any], detections: DetectionOptions | None = None
    ) -> Metric:
        """Return the metric; its settings are part of its name, since they change the figure.

        Args:
            settings: Checked, by name.
            detections: Options by which a detector's outputs are read; None is the default of each option.

        Raises:
            MetricError: A setting is unknown, or its value has another type.
        """
        metric = self.make(**settings, **({"detections": detections} if self.takes_detections else {}))
        settings_text = ",".join(f"{key}={_text(settings[key])}" for key in self.settings if key in settings)
        return _renamed(metric, f"{metric.name}:{settings_text}") if settings_text else metric


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _renamed(metric: Metric, name: str) -> Metric:
    fit = metric.fit
    return replace(
        metric, name=name, fit=None if fit is None else lambda specs: replace(fit(specs), name=name)
    )


def split_settings(text: str) -> tuple[str, dict[str, str]]:
    """Split a metric's text into its name and its settings; empty settings for a name alone."""
    match = _SETTINGS.fullmatch(text)
    if match is None:
        return text, {}
    pairs = (part.partition("=") for part in _NEXT.split(match[2]))
    return match[1], {key: value for key, _, value in pairs}


def checked_settings(name: str, fields: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked settings in their types; a number may be given as text.

    Args:
        name: Name of the metric, for messages.
        fields: Type of each setting, by its name.
        given: Settings by name.

    Raises:
        MetricError: A setting is unknown, or its value has another type.
    """
    if given and not fields:
        raise MetricError(
            f"{name} alone", f"{name} with {', '.join(given)}", "it has no settings: leave them out"
        )
    typed = {
        key: _number(value) if isinstance(fields.get(key), Number) else value for key, value in given.items()
    }
    return check(typed, fields, f"the metric {name}", MetricError)


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
