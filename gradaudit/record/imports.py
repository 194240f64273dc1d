"""A finder that calls back when a module has been executed, whoever finds it, loads it, or only asks for it.

Standard library only, and no syntax younger than Python 3.7: the boot folder runs it in every interpreter that a
recorded command starts.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

TYPE_CHECKING = False  # importing typing would cost every interpreter that starts
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Finder:
    """Lets the watched modules be found by the finders behind it, and calls back after each was executed.

    It stays on ``sys.meta_path``: taking it off would make an import that is going on skip a finder.
    """

    def __init__(self, watched: dict[str, Callable[[Any], None]]) -> None:
        self.watched = watched
        self.done: set[str] = set()  # called back for; executed by us once more, they are so once more
        self._by_us: list[str] = []  # being executed through our loaders

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The others' answer, its loader wrapped, for a watched module; for any other nothing."""
        if name not in self.watched:
            try:
                self.look()
            except Exception:  # the script's import is worth more than what we wait for
                self.watched = {}
            return None
        finders = list(sys.meta_path)
        # Those before us were asked already.
        for finder in finders[finders.index(self) + 1 :] if self in finders else finders:
            find = getattr(finder, "find_spec", None)
            if find is None:
                return None  # a finder of Python 3.11's old kind, which only the interpreter can ask
            spec = find(name, path, target)
            if spec is not None:
                loader = getattr(spec, "loader", None)
                if loader is not None and type(loader) is not _Loader:
                    spec.loader = _Loader(loader, self, name)
                return spec
        return None

    def look(self) -> None:
        """Find the watched modules that came in past us: another finder found them, or they were there before."""
        for name in list(self.watched):
            module = sys.modules.get(name)
            if not isinstance(module, ModuleType) or name in self._by_us or name in self.done:
                continue
            # A lazy module would be loaded by being asked.
            spec = object.__getattribute__(module, "__dict__").get("__spec__")
            if type(spec) is not ModuleSpec or spec.origin is None:
                continue  # made by hand, or a folder that is a namespace
            initializing = getattr(spec, "_initializing", None)
            if initializing:
                _Watched.finders[name] = self
                spec.__class__ = _Watched
            elif initializing is False and not _lazy(module):
                self._executed(name, module)

    def executing(self, name: str, run: Callable[[Any], Any], argument: Any) -> Any:
        """Execute a module by its own loader, then call back."""
        self._by_us.append(name)
        try:
            result = run(argument)
        finally:
            self._by_us.remove(name)
        self._executed(name, sys.modules.get(name))
        return result

    def _executed(self, name: str, module: Any) -> None:
        then = self.watched.get(name)
        if then is not None and module is not None:
            self.done.add(name)
            then(module)


class _Loader:
    """Stands for a loader until its module is executed; that loader answers whatever else is asked."""

    def __init__(self, loader: Any, finder: Finder, name: str) -> None:
        self._loader, self._finder, self._name = loader, finder, name

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self.__dict__["_loader"].__class__

    def __getattr__(self, asked: str) -> Any:
        if "_loader" not in self.__dict__:
            raise AttributeError(asked)  # a copy that is being made
        found = getattr(self._loader, asked)
        if asked not in ("exec_module", "load_module"):
            return found

        def load(module: Any) -> Any:
            if asked == "exec_module":
                self._step_aside(module)
            try:
                return self._finder.executing(self._name, found, module)
            except BaseException as error:
                # The script's traceback shows none of our frames: this one and that of `executing`.
                trace = error.__traceback__
                error.__traceback__ = trace.tb_next.tb_next if trace is not None and trace.tb_next else None
                raise

        return load

    def _step_aside(self, module: Any) -> None:
        """Leave the module with the loader that it would have without us."""
        spec: Any = getattr(module, "__spec__", None)
        if getattr(spec, "loader", None) is self:
            spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader


class _Watched(ModuleSpec):
    """The spec of a module that is being executed without us: the interpreter tells it when that is over."""

    finders: dict[str, Finder] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_initializing" and not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            finder = _Watched.finders.pop(self.name, None)
            if finder is not None:
                finder._executed(self.name, sys.modules.get(self.name))


def _lazy(module: Any) -> bool:
    """Whether importlib.util.LazyLoader made the module, and nothing has asked it for an attribute yet."""
    return type(module).__name__ == "_LazyModule"
