"""Mutations of a good file: of its bytes, and of the parts that its format has."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from compress.bundle.bundle import MANIFEST, SUMS
from fuzz.corpus import unzipped, zipped

#: From the files of a corpus to one that nobody has written.
Mutation = Callable[[Sequence[bytes], random.Random], bytes]

_NUMBERS = (
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    -(2**63),
    10**12,
    9**40,
)
_FLOATS = (0.0, -0.0, 1e-320, 1e308, float("inf"), float("nan"), 0.5)
_TEXTS = (
    "",
    "a",
    "\0",
    "../x",
    "/dev/zero",
    "{}",
    "é",
    "\ud800",
    "x" * 5000,
    "nan",
    "[]",
    "batch",
    "<b>&",
    "\x1b[31m",
)
_MOST_CHANGES = 6


def of_bytes(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """A few bytes, or stretches of them, changed, moved, cut or doubled."""
    content = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, _MOST_CHANGES)):
        at = chance.randrange(len(content) + 1)
        length = min(len(content) - at, int(2 ** chance.uniform(0, 8)))
        match chance.randrange(8):
            case 0 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(content):
                content[at] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[at : at + length] * chance.randint(1, 3)
            case 4:
                width = chance.choice((1, 2, 4, 8))
                number = chance.choice(_NUMBERS) % 256**width
                content[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
            case 5:
                other = chance.choice(corpus)
                start = chance.randrange(len(other) + 1)
                content[at : at + length] = other[start : start + length]
            case 6:
                content[at : at + length] = chance.randbytes(length)
            case 7 if not chance.randrange(4):
                del content[at:]
    return bytes(content)


def of_zip(inner: Mutation | None = None) -> Mutation:
    """A member changed, renamed, dropped or doubled in a zip that is else whole; at times the zip's own bytes.

    Args:
        inner: Mutation of the content of a member; None mutates its bytes.
    """

    def mutated(corpus: Sequence[bytes], chance: random.Random) -> bytes:
        if not chance.randrange(5):
            return of_bytes(corpus, chance)
        source = zipfile.ZipFile(io.BytesIO(chance.choice(corpus)))
        members = [(name, source.read(name)) for name in source.namelist()]
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(members))
            name, content = members[at]
            match chance.randrange(10):
                case 0:
                    name = chance.choice(
                        (name.upper(), name + "x", name.replace("/", "//"), f"x/{name}", "é", name[:-1])
                    )
                case 1 if len(members) > 1:
                    del members[at]
                    continue
                case 2:
                    content = chance.choice(members)[1]
                case 3:
                    members.append((name.swapcase(), content))
                case _:
                    content = (_inner(name, content) if inner is None else inner)([content] * 2, chance)
            members[at] = (name, content)
        written = io.BytesIO()
        stored = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(written, "w", stored) as target:
            for name, content in dict(members).items():
                target.writestr(name or "x", content)
        return written.getvalue()

    return mutated


def _inner(name: str, content: bytes) -> Mutation:
    return of_json if name.endswith(".json") and content.startswith((b"{", b"[")) else of_bytes


def of_json(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """A value, a key or a list changed in JSON that stays JSON; at times its bytes."""
    if not chance.randrange(4):
        return of_bytes(corpus, chance)
    try:
        whole = json.loads(chance.choice(corpus))
    except (ValueError, RecursionError):
        return of_bytes(corpus, chance)
    for _ in range(chance.randint(1, 3)):
        whole = _changed(whole, chance)
    return json.dumps(whole).encode()


def of_json_lines(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """One line of several changed as JSON; at times the lines themselves."""
    if not chance.randrange(4):
        return of_text(corpus, chance)
    lines = chance.choice(corpus).splitlines()
    at = chance.randrange(len(lines))
    lines[at] = of_json([lines[at]], chance)
    return b"\n".join([*lines, b""])


def _changed(value: Any, chance: random.Random) -> Any:
    """One place of a value changed, the deeper ones as likely as the others."""
    if isinstance(value, dict) and value and chance.randrange(8):
        key = chance.choice(list(value))
        match chance.randrange(10):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return {**value, chance.choice(_TEXTS): chance.choice(list(value.values()))}
            case _:
                return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.randrange(8):
        at = chance.randrange(len(value))
        match chance.randrange(10):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, *value[at : at + 1] * chance.choice((1, 2, 500))]
            case _:
                return [*value[:at], _changed(value[at], chance), *value[at + 1 :]]
    kind = chance.randrange(9)
    others: tuple[Callable[[], Any], ...] = (
        lambda: chance.choice(_NUMBERS),
        lambda: chance.choice(_FLOATS),
        lambda: chance.choice(_TEXTS),
        lambda: None,
        lambda: chance.choice((True, False)),
        lambda: [value],
        lambda: {"a": value},
        lambda: [],
        lambda: _nested(chance.choice((3, 200, 2000))),
    )
    return others[kind]()


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(min(depth, 900)):  # json.dumps ends at 1,000
        value = [value]
    return value


def of_text(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """Lines and words changed, dropped, doubled or taken from another file; at times the bytes."""
    if not chance.randrange(4):
        return of_bytes(corpus, chance)
    lines = chance.choice(corpus).decode("utf-8", "replace").splitlines()
    for _ in range(chance.randint(1, 3)):
        if not lines:
            break
        at = chance.randrange(len(lines))
        words = lines[at].split(" ")
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines[at:at] = [lines[at]] * chance.choice((1, 2, 300))
            case 2:
                lines[at] = chance.choice(
                    chance.choice(corpus).decode("utf-8", "replace").splitlines() or [""]
                )
            case _:
                odd = (*map(str, _NUMBERS), *map(str, _FLOATS), *_TEXTS, "'a'", '"', "[1, 2]", "{}", "[", "#")
                words[chance.randrange(len(words))] = chance.choice(odd)
                lines[at] = " ".join(words)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def of_onnx(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """A field of a graph changed where it stays a protocol buffer; at times its bytes."""
    import onnx

    if not chance.randrange(4):
        return of_bytes(corpus, chance)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(chance.choice(corpus))
        for _ in range(chance.randint(1, 3)):
            _change_message(model, model, chance)
        return bytes(model.SerializeToString())
    except Exception:  # noqa: BLE001 - protobuf refuses some values; the bytes are left
        return of_bytes(corpus, chance)


def _change_message(message: Any, whole: Any, chance: random.Random) -> None:
    """Walk down a random way, and change the field at its end."""
    fields = [field for field, _ in message.ListFields()]
    if not fields:
        return
    field = chance.choice(fields)
    value = getattr(message, field.name)
    if field.message_type is not None:
        inner = list(value) if hasattr(value, "add") else [value]
        if hasattr(value, "add") and inner and not chance.randrange(8):
            _change_list(value, chance)
        elif inner and chance.randrange(12):
            _change_message(chance.choice(inner), whole, chance)
        else:
            message.ClearField(field.name)
        return
    repeated = hasattr(value, "append")
    odd = _odd(field, whole, chance)
    if not repeated:
        setattr(message, field.name, odd)
    elif value and chance.randrange(3):
        value[chance.randrange(len(value))] = odd
    elif value and chance.randrange(2):
        del value[chance.randrange(len(value))]
    else:
        value.append(odd)


def _change_list(values: Any, chance: random.Random) -> None:
    at = chance.randrange(len(values))
    if chance.randrange(2):
        del values[at]
    else:
        values.add().CopyFrom(values[at])


def _odd(field: Any, whole: Any, chance: random.Random) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice(_FLOATS)
    if field.type == field.TYPE_BYTES:
        return chance.choice((b"", b"\0" * 8, b"\xff" * 12, chance.randbytes(16)))
    if field.type == field.TYPE_STRING:
        nodes = whole.graph.node
        known = [each for node in nodes for each in (*node.input, *node.output, node.op_type)]
        return chance.choice([*known, "", "a", "Loop", "If", "ConstantOfShape", "é", "x" * 500])
    small = chance.choice((0, 1, 2, 3, 7, 10, 11, 16, 20, 100))
    number = chance.choice((small, small, chance.choice(_NUMBERS)))
    narrow = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_ENUM, field.CPPTYPE_UINT32)
    limit = 2**31 - 1 if narrow else 2**63 - 1
    return max(
        0 if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else -limit, min(number, limit)
    )


def of_zip_or_bytes(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """Mutate a file as a zip where it is one, else its bytes."""
    content = chance.choice(corpus)
    return (of_zip() if content.startswith(b"PK") else of_bytes)([content], chance)


def of_bundle(name: str, inner: Mutation) -> Mutation:
    """One file of a bundle changed; the hashes are those of its files again, so that what is inside is read."""

    def mutation(corpus: Sequence[bytes], chance: random.Random) -> bytes:
        files = unzipped(chance.choice(corpus))
        files[name] = inner([files[name]], chance)
        return zipped(files if name == SUMS else _resealed(files, name))

    return mutation


def _resealed(files: dict[str, bytes], changed: str) -> dict[str, bytes]:
    if changed != MANIFEST:
        manifest = json.loads(files[MANIFEST])
        manifest["files"][changed] = hashlib.sha256(files[changed]).hexdigest()
        files = {**files, MANIFEST: json.dumps(manifest).encode()}
    names = [line.partition("  ")[2] for line in files[SUMS].decode().splitlines()]
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names]
    return {**files, SUMS: "".join(lines).encode()}
