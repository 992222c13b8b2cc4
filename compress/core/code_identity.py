"""A hash of the user's own code: results that depend on a function are kept only while it is unchanged.

A function is its code and whatever that refers to: functions and values of its module, what it closes over, its
defaults, and the source of the user's modules that it imports. Installed packages and Python's own count by what they
are called; their versions are recorded apart.
"""

from __future__ import annotations

import ast
import hashlib
import re
import secrets
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range)

#: Memory address in the printed form of an object.
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


def code_sha256(found: object) -> str:
    """Return a hash of a function or callable object, with all of the user's code that it refers to.

    What cannot be told apart from another of its kind, such as an open connection, gets a hash of its own each time:
    nothing that depends on it is taken over.
    """
    walk = _Walk()
    walk.add(found)
    return walk.digest.hexdigest()


class _Walk:
    """Adds objects to a hash, each once."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        # With the objects: an address may be used again.
        self._seen: dict[int, tuple[int, object]] = {}
        self._files: set[Path] = set()

    def add(self, value: object) -> None:
        if isinstance(value, _PLAIN) or (isinstance(value, np.generic) and not value.dtype.hasobject):
            self._tell(type(value).__name__, repr(value))
            return
        # Which constants of code are one object depends on whether it was compiled or read from a cache.
        if not isinstance(value, tuple | frozenset | CodeType):
            if id(value) in self._seen:
                self._tell("again", str(self._seen[id(value)][0]))
                return
            self._seen[id(value)] = (len(self._seen), value)
        self._tell("a", f"{type(value).__module__}.{type(value).__qualname__}")
        self._add_contents(value)

    def _add_contents(self, value: Any) -> None:
        for kinds, add in self._kinds():
            if isinstance(value, kinds):
                add(value)
                return
        self._add_object(value)

    def _kinds(self) -> tuple[tuple[Any, Callable[[Any], None]], ...]:
        return (
            (CodeType, self._add_code),
            (FunctionType, self._add_function),
            (ModuleType, self._add_module),
            (type, self._add_class),
            (partial, lambda call: self._add_all(call.func, call.args, call.keywords)),
            (MethodType, lambda method: self._add_all(method.__func__, method.__self__)),
            (property, lambda accessors: self._add_all(accessors.fget, accessors.fset)),
            (classmethod | staticmethod, lambda method: self._add_all(method.__func__)),
            (np.ndarray, self._add_array),
            (Mapping, lambda mapping: self._add_all(*(part for item in mapping.items() for part in item))),
            (list | tuple, lambda sequence: self._add_all(*sequence)),
            (set | frozenset, lambda members: self._add_all(*sorted(code_sha256(part) for part in members))),
        )

    def _add_all(self, *values: object) -> None:
        self._tell("length", str(len(values)))
        for value in values:
            self.add(value)

    def _add_code(self, code: CodeType) -> None:
        self.digest.update(code.co_code)
        self._add_all(code.co_names, code.co_consts)

    def _add_function(self, function: FunctionType) -> None:
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        if not _is_of_user(function.__module__):
            self._tell("installed", f"{function.__module__}.{function.__qualname__}")
            self._add_all(*cells)
            return
        self._add_file(function.__module__)
        self._add_all(function.__code__, function.__defaults__, function.__kwdefaults__, *cells)
        self.add({key: value for key, value in vars(function).items() if key != "__wrapped__"})
        for name in sorted(_names_in(function.__code__) & set(function.__globals__)):
            self._tell("global", name)
            self.add(function.__globals__[name])

    def _add_module(self, module: ModuleType) -> None:
        self._tell("module", module.__name__)
        if _is_of_user(module.__name__):
            self._add_file(module.__name__)
            for name, value in sorted(vars(module).items()):
                if not name.startswith("__"):
                    self._tell("attribute", name)
                    self.add(value)

    def _add_class(self, kind: type) -> None:
        self._tell("class", f"{kind.__module__}.{kind.__qualname__}")
        if not _is_of_user(kind.__module__):
            return
        self._add_file(kind.__module__)
        self._add_all(*kind.__bases__)
        for name, value in sorted(vars(kind).items()):
            if not name.startswith("__") or isinstance(value, FunctionType):
                self._tell("attribute", name)
                self.add(value)

    def _add_array(self, array: np.ndarray[Any, Any]) -> None:
        self._tell("array", f"{array.dtype} {array.shape}")
        if array.dtype.hasobject:
            self._add_all(*array.ravel().tolist())
        else:
            self.digest.update(np.ascontiguousarray(array).tobytes())

    def _add_object(self, value: Any) -> None:
        if hasattr(value, "__wrapped__"):  # what functools keeps of a function
            self.add(value.__wrapped__)
            return
        top = type(value).__module__.partition(".")[0]
        if top == "torch" and hasattr(value, "untyped_storage"):
            self._add_tensor(value)
            return
        if top not in sys.stdlib_module_names or top == "__main__":
            self.add(type(value))
            state = _state_of(value)
            if state or hasattr(value, "__dict__"):
                self._add_all(*(part for item in sorted(state.items()) for part in item))
                return
            if not any("__repr__" in vars(kind) for kind in type(value).__mro__[:-1]):
                self._tell("unlike any other", secrets.token_hex())
        self._tell("told as", _ADDRESS.sub("", repr(value)))

    def _add_tensor(self, tensor: Any) -> None:
        self._tell("tensor", f"{tensor.dtype} {tuple(tensor.shape)}")
        plain = tensor.detach().cpu().contiguous().flatten()
        self.digest.update(plain.view(sys.modules["torch"].uint8).numpy().tobytes())

    def _add_file(self, module: str | None) -> None:
        """Add the source of a user's module, and of the user's modules that it imports anywhere."""
        waiting = [] if module is None else [module]
        while waiting:
            name = waiting.pop()
            path = _source_of(name)
            if path is None or path in self._files:
                continue
            self._files.add(path)
            try:
                source = path.read_bytes()
                tree = ast.parse(source)
            except (OSError, ValueError, SyntaxError):
                continue
            self._tell("source", hashlib.sha256(source).hexdigest())
            waiting += sorted(_imported(tree, name, is_package=path.name == "__init__.py"))

    def _tell(self, what: str, content: str) -> None:
        self.digest.update(f"{what} {len(content)} {content}\n".encode("utf-8", "surrogatepass"))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _state_of(value: object) -> dict[str, Any]:
    slots = [name for kind in type(value).__mro__ for name in _slots_of(kind)]
    return {
        **{name: getattr(value, name) for name in slots if hasattr(value, name)},
        **getattr(value, "__dict__", {}),
    }


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _names_in(code: CodeType) -> set[str]:
    """Return the names that code and the functions inside it read."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names_in, inner))


def _imported(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Modules that a source imports, wherever in it; of ``from a import b`` both ``a`` and ``a.b`` may be one."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (part for part in (base, *(f"{base}.{alias.name}" for alias in node.names)) if part)


def _is_of_user(module: str | None) -> bool:
    return module is None or module == "__main__" or _source_of(module) is not None


def _source_of(module: str) -> Path | None:
    """Return the file of a user's module, without importing it; None for Python's, installed and own modules."""
    if module.partition(".")[0] in (*sys.stdlib_module_names, "compress") and module != "__main__":
        return None
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None) if loaded is not None else _found(module)
    if not file or not file.endswith(".py"):
        return None
    path = Path(file).resolve()
    return None if _is_installed(path) else path


def _is_installed(path: Path) -> bool:
    """Whether a file belongs to Python or to an installed package, of this environment or of another one."""
    return not _PACKAGES.isdisjoint(path.parts) or any(
        path.is_relative_to(directory) for directory in _INSTALLED
    )


def _found(module: str) -> str | None:
    """Path of the file that an import of this module would read, found without importing; None where there is none."""
    places = [str(Path.cwd()), *sys.path]
    spec = None
    for name in module.split("."):
        try:
            # The last part of the name alone: of a folder without __init__.py the whole name would ask for its package
            # in sys.modules, where it need not be.
            spec = PathFinder.find_spec(name, places)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return None if spec is None else spec.origin


#: Folders that packages are installed into, also where they are another environment's, the system's or a user's own.
_PACKAGES = frozenset(("site-packages", "dist-packages"))

_INSTALLED = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
