"""What the source says of the data where a frame stands: cached, since reading it costs more than the loss."""

import ast
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

from gradaudit.record.observe.evaluation import source
from gradaudit.record.observe.evaluation.source import Loop, Position, identifiers, text_of
from gradaudit.record.observe.evaluation.words import held_out, is_data, one_of, splits_of, tokens_of
from gradaudit.record.observe.frame_locals import variables_of

# Parameters by which functions are told what to evaluate.
OPTIONS = ("split", "phase", "mode", "stage", "subset", "partition", "fold")
MOST = 10_000  # code that a script makes at every step would otherwise be kept for ever
_HOLDERS = {"data", "datasets", "loaders", "splits", "sets"}  # what has an attribute called train


class Place(NamedTuple):
    """What the source says where a frame stands."""

    where: tuple[Any, ...]  # the function, and the lines and columns of its call: a faster call has another offset
    word: str | None  # the split named by the call, by what is made of its result, or by a loop around it
    given: str | None  # the split named by what the call is given, or by the variable that takes its result
    loops: tuple[Loop, ...]  # around it, outermost first
    options: tuple[str, ...]  # parameters that may name a split
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]  # parameters of the function around: of a comprehension, not its own


_places: dict[tuple[CodeType, int], Place] = {}


def forget() -> None:
    """Start anew. Code that the compiler made must not outlive a recording here."""
    _places.clear()
    source.forget()


def full() -> bool:
    """Whether there are more places than a script has that is written by hand."""
    return len(_places) > MOST


def place_of(frame: FrameType) -> Place:
    """What the source says where `frame` stands."""
    code = frame.f_code
    key = (code, frame.f_lasti)
    if key not in _places:
        position = Position(code, frame.f_lasti)
        # A generator expression's only parameter, ".0", is an iterator: another one each time.
        count = code.co_argcount + code.co_kwonlyargcount
        parameters = tuple(name for name in code.co_varnames[:count] if name.isidentifier())
        loops = tuple(position.loops())
        named = (one_of((*loop.targets, *loop.names)) for loop in reversed(loops))
        of_loops = held_out(next(filter(None, named), None))
        settings = {name for name, value in variables_of(frame).items() if _is_setting(value)}
        words = _Words(settings)
        word = words.around(position) or of_loops
        options = tuple(name for name in parameters if name in OPTIONS)
        given, inputs = words.given(position), position.inputs()
        _places[key] = Place(position.where, word, given, loops, options, parameters, inputs)
    return _places[key]


def _is_setting(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float)


class _Words:
    """The splits that expressions speak of; `settings` are variables that hold no data, but a number or a flag."""

    def __init__(self, settings: set[str]) -> None:
        self.settings = settings

    def of(self, *nodes: ast.AST | None) -> list[str]:
        """The identifiers and strings of expressions that may name data."""
        return [text_of(node) for node in identifiers(*nodes) if not self._is_mode(node)]

    def _is_mode(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.settings
        # model.train() and args.train are modes; splits.train is data.
        of = tokens_of(text_of(node.value)) if isinstance(node, ast.Attribute) else set()
        return isinstance(node, ast.Attribute) and node.attr == "train" and not of & _HOLDERS

    def around(self, position: Position, *, itself: bool = True) -> str | None:
        """The split named by a call `itself`, or else by the narrowest expression around it that names any."""
        if itself and isinstance(position.node, ast.expr):
            names = self.of(position.node)
            if any(map(splits_of, names)):
                return one_of(names)
        for names in self._widening(position):
            if any(map(splits_of, names)):
                return one_of(names)
        return None

    def _widening(self, position: Position) -> Iterator[list[str]]:
        for node, parent in position.ancestors():
            if isinstance(parent, ast.Dict) and node in parent.values:
                yield self.of(parent.keys[parent.values.index(node)])
            elif isinstance(parent, ast.keyword):
                yield [parent.arg or ""]
            elif isinstance(parent, ast.Tuple | ast.List):
                # One of several results: what is said beside it is said of the others.
                yield self.of(_target_of(node, parent, position.file.parents.get(parent)))
            elif isinstance(parent, ast.comprehension | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
                continue  # its loops speak for themselves
            elif isinstance(parent, ast.expr):
                yield self.of(parent)
            if isinstance(parent, ast.stmt):
                if isinstance(node, ast.expr | ast.withitem):
                    yield self._of_statement(parent, node)
                return

    def _of_statement(self, statement: ast.stmt, node: ast.AST) -> list[str]:
        if isinstance(statement, ast.For | ast.AsyncFor | ast.While | ast.If | ast.With | ast.AsyncWith | ast.Match):
            return []
        if isinstance(statement, ast.Assign) and isinstance(node, ast.Tuple | ast.List):
            return []
        return self.of(*(child for child in ast.iter_child_nodes(statement) if child is not node))

    def given(self, position: Position) -> str | None:
        """The split that the arguments of a call name, or else the variables that its result is assigned to."""
        call = position.node
        if not isinstance(call, ast.Call):
            return None
        names = [name for name in self.of(*call.args, *call.keywords) if is_data(name)]
        if any(map(splits_of, names)):
            return one_of(names)
        return self.around(position, itself=False)


def _target_of(node: ast.AST, parent: ast.Tuple | ast.List, statement: ast.AST | None) -> ast.AST | None:
    """Of `a, b = f(x), f(y)`, the variable that takes the value `node`."""
    if not isinstance(statement, ast.Assign) or parent is not statement.value:
        return None
    for target in statement.targets:
        if isinstance(target, ast.Tuple | ast.List) and len(target.elts) == len(parent.elts):
            return target.elts[[id(each) for each in parent.elts].index(id(node))]
    return None
