"""The roles of a detector's outputs: boxes, scores, labels, counts.

They are found by the names in :class:`compress.data.DetectionOptions`, else by the shapes that
:mod:`compress.metrics.detections` lists, and where shapes are alike by words in the outputs' names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.detection_options import DetectionOptions

#: Where a user tells names and forms, for messages.
TABLE = "[detections] of compress-data.toml"

_HINTS = {
    "boxes": ("box",),
    "scores": ("score", "conf", "prob", "cls", "class", "logit"),
    "labels": (),
    "count": (),
}
_LABEL_WORDS = ("label", "class", "categor")


@dataclass(frozen=True)
class Layout:
    """Roles of the outputs, by position.

    Attributes:
        kind: Kind of layout: ``two`` for boxes and scores, ``one`` for both in one output, ``kept`` for boxes, scores
            and class numbers of a graph that suppresses overlaps, ``rows`` for one output with a row a detection.
        boxes: Position of the output with boxes, or of the only one.
        scores: Position of the output with scores; None where there is one output.
        labels: Position of the output with class numbers; None except for ``kept``.
        count: Position of the output with the number of valid boxes; None where there is none.
    """

    kind: str
    boxes: int
    scores: int | None = None
    labels: int | None = None
    count: int | None = None

    @property
    def used(self) -> tuple[int, ...]:
        """Return the positions of the outputs that are read."""
        return tuple(
            place for place in (self.boxes, self.scores, self.labels, self.count) if place is not None
        )


def find_layout(specs: Sequence[TensorSpec], options: DetectionOptions) -> Layout:
    """Find the roles of outputs by the options' names, else by shapes, and for equal shapes by words in names.

    Args:
        specs: Outputs of the network.
        options: Options with names, and whether the graph suppresses overlaps itself.

    Raises:
        MetricError: There is no output of a given name, none of a suitable shape, or several.
    """
    free = _Free(specs, options)
    if len(specs) == 1 or (
        options.boxes is not None and options.scores is None and not free.is_boxes(options.boxes)
    ):
        only = free.take("boxes", lambda spec, shape: True)
        if len(plain_shape(specs[only])) == 3:
            return Layout("one" if options.nms else "rows", only)
        raise free.unclear("boxes")
    boxes = free.take("boxes", lambda spec, shape: len(shape) == 3 and 4 in shape[1:])
    if options.nms:
        return Layout("two", boxes, free.take("scores", lambda spec, shape: len(shape) in (2, 3)))
    labels = free.find(
        "labels", lambda spec, shape: len(shape) == 2 and shape[1] != 1 and _numbers_classes(spec)
    )
    if labels is None:
        return Layout("two", boxes, free.take("scores", lambda spec, shape: len(shape) == 3))
    count = free.find("count", lambda spec, shape: len(shape) == 1 or (len(shape) == 2 and shape[1] == 1))
    return Layout("kept", boxes, free.take("scores", lambda spec, shape: len(shape) == 2), labels, count)


class _Free:
    """Outputs that have no role yet."""

    def __init__(self, specs: Sequence[TensorSpec], options: DetectionOptions) -> None:
        self._specs = specs
        self._named_by_user = {role: getattr(options, role) for role in _HINTS}
        self._left = [
            index for index, spec in enumerate(specs) if spec.name not in self._named_by_user.values()
        ]

    def is_boxes(self, name: str) -> bool:
        """Whether the output of that name can hold boxes alone."""
        shapes = [plain_shape(spec) for spec in self._specs if spec.name == name]
        return bool(shapes) and len(self._specs) > 1 and len(shapes[0]) == 3 and 4 in shapes[0][1:]

    def find(self, role: str, fits: Callable[[TensorSpec, tuple[int | str, ...]], bool]) -> int | None:
        """Return the position of the output named for the role, or of the only one that fits; else None."""
        name = self._named_by_user[role]
        if name is not None:
            names = [spec.name for spec in self._specs]
            if name not in names:
                todo = did_you_mean(name, names) or f"choose one of {', '.join(names)}"
                raise MetricError(f"an output of the name told as {role} in {TABLE}", f"'{name}'", todo)
            return names.index(name)
        fitting = [index for index in self._left if fits(self._specs[index], plain_shape(self._specs[index]))]
        if len(fitting) > 1:
            fitting = [index for index in fitting if _hinted(self._specs[index].name, role)]
        if len(fitting) != 1:
            return None
        self._left.remove(fitting[0])
        return fitting[0]

    def take(self, role: str, fits: Callable[[TensorSpec, tuple[int | str, ...]], bool]) -> int:
        """Return the position that :meth:`find` returns, where there must be one.

        Raises:
            MetricError: No output fits, or several do.
        """
        place = self.find(role, fits)
        if place is None:
            raise self.unclear(role)
        return place

    def unclear(self, role: str) -> MetricError:
        """Return an error that shows all outputs."""
        specs_told = ", ".join(map(str, self._specs))
        return MetricError(
            f"one output that can hold a detector's {role}", specs_told, f"name it: {role} = … in {TABLE}"
        )


def _hinted(name: str, role: str) -> bool:
    return any(word in name.lower() for word in _HINTS[role])


def _numbers_classes(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("int", "uint")) or any(word in spec.name.lower() for word in _LABEL_WORDS)


def plain_shape(spec: TensorSpec) -> tuple[int | str, ...]:
    """Return an output's shape without axes of length 1 in between, down to three axes."""
    shape = list(spec.shape)
    while len(shape) > 3 and 1 in shape[1:-1]:
        del shape[shape.index(1, 1)]
    return tuple(shape)
