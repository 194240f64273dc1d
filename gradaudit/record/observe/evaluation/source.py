"""Where a frame stands in the source of its file: the expression that it evaluates, and the loops around it."""

import ast
import functools
import linecache
from collections.abc import Iterator
from types import CodeType
from typing import Literal, NamedTuple

from gradaudit.record.observe.evaluation.words import tokens_of

Over = Literal["splits", "batches", "unsure"]
_LONGEST = 20_000  # lines; a file of more is not read
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_NODES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
COMPREHENSIONS = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>")  # code of their own, until Python 3.12
# What gives back the items of its argument, one after the other.
_PASSING = {"enumerate", "iter", "list", "progress", "reversed", "sorted", "track", "tqdm", "trange", "tuple"}
_BATCHES = {"batch", "batches", "dataloader", "dl", "iter", "iterator", "loader", "minibatch", "minibatches"}
_GROUPS = {"folds", "loaders", "parts", "sets", "splits", "subsets"}


class Loop(NamedTuple):
    """A `for` statement or the `for` of a comprehension, as its source has it."""

    where: tuple[int, int]  # line and column
    targets: tuple[str, ...]
    over: Over  # what it goes over, as far as the source tells
    iterates: tuple[str, ...]  # the variable and attributes that it goes over
    names: tuple[str, ...]  # identifiers and strings in what it goes over
    elements: tuple[tuple[str, ...], ...]  # the same of each element, where those are written out
    trains: bool  # a backward stands in it


class _File:
    """The tree of one file."""

    def __init__(self, name: str) -> None:
        lines = linecache.getlines(name)
        self.tree: ast.AST | None = None
        if len(lines) <= _LONGEST:
            try:
                self.tree = ast.parse("".join(lines))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self.tree = None
        self.parents: dict[ast.AST, ast.AST] = {}
        self.spans: dict[tuple[int, int, int, int], ast.expr] = {}  # calls before what else ends at the same place
        self.statements: dict[int, ast.stmt] = {}
        for node in ast.walk(self.tree) if self.tree is not None else ():
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            if isinstance(node, ast.expr):
                span = (node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0)
                if span not in self.spans or isinstance(node, ast.Call):
                    self.spans[span] = node
            elif isinstance(node, ast.stmt):
                self.statements.setdefault(node.lineno, node)


file_of = functools.lru_cache(maxsize=8)(_File)


def forget() -> None:
    """Let go of the trees: most places are read at the first evaluation."""
    file_of.cache_clear()


class Position:
    """The place of a code object's instruction."""

    def __init__(self, code: CodeType, instruction: int) -> None:
        self.code = code
        line, last_line, start, end = list(code.co_positions())[instruction // 2]
        self.where = (code, line, last_line, start, end)
        self.file = file_of(code.co_filename)
        node: ast.AST | None = None
        if line is not None and last_line is not None and start is not None and end is not None:
            node = self.file.spans.get((line, last_line, start, end))
        self.node = node or self.file.statements.get(line or 0)

    def ancestors(self) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each node around and what it is in, innermost first, up to the function or the module."""
        node = self.node
        while node is not None and (parent := self.file.parents.get(node)) is not None:
            if isinstance(parent, _FUNCTIONS):
                return
            yield node, parent
            node = parent

    def inputs(self) -> tuple[str, ...]:
        """The parameters of the function around."""
        node: ast.AST | None = self.node
        while node is not None and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            node = self.file.parents.get(node)
        arguments = node.args if node is not None else None
        return tuple(each.arg for each in (*arguments.args, *arguments.kwonlyargs)) if arguments is not None else ()

    def loops(self) -> list[Loop]:
        """The loops around, outermost first."""
        found: list[Loop] = []
        for node, parent in self.ancestors():
            if isinstance(parent, ast.For | ast.AsyncFor) and node in parent.body:
                found.append(_loop(parent.target, parent.iter, parent))
            elif isinstance(parent, _NODES):
                # The first one's iterable is evaluated outside.
                inside = parent.generators
                if isinstance(node, ast.comprehension):
                    inside = inside[: inside.index(node) + (self.node is not None and _within(self.node, node.ifs))]
                found += [_loop(each.target, each.iter, parent) for each in reversed(inside)]
                if self.code.co_name in COMPREHENSIONS:
                    break
        return found[::-1]


def identifiers(*nodes: ast.AST | None) -> Iterator[ast.AST]:
    """The names, attributes and strings of expressions, without the words of a callee: names of keyword arguments."""
    for node in nodes:
        if node is None:
            continue
        if isinstance(node, ast.keyword) and "mode" in tokens_of(node.arg or ""):
            continue
        if isinstance(node, ast.Name | ast.Attribute) or (isinstance(node, ast.Constant) and type(node.value) is str):
            yield node
        yield from identifiers(*ast.iter_child_nodes(node))


def text_of(node: ast.AST) -> str:
    """An identifier or a string as it is written."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else str(getattr(node, "value", ""))


def _texts(*nodes: ast.AST | None) -> tuple[str, ...]:
    return tuple(map(text_of, identifiers(*nodes)))


def _within(node: ast.AST, outer: list[ast.expr]) -> bool:
    return any(node is inner for each in outer for inner in ast.walk(each))


def _loop(target: ast.expr, over: ast.expr, whole: ast.AST) -> Loop:
    kind, items, iterates = _gone_over(over)
    targets = tuple(node.id for node in ast.walk(target) if isinstance(node, ast.Name))
    if kind == "unsure" and isinstance(over, ast.Call) and set(targets) <= {"_"}:
        kind = "batches"  # so many batches of a function that gives them
    elements = tuple(_texts(*each) for each in items)
    trains = any(isinstance(node, ast.Attribute) and node.attr == "backward" for node in ast.walk(whole))
    where = (over.lineno, over.col_offset)
    return Loop(where, targets, kind, iterates, _texts(over), elements, trains)


def _gone_over(over: ast.expr) -> tuple[Over, list[tuple[ast.AST | None, ...]], tuple[str, ...]]:
    """What an iterable is: its kind, the elements that are written out, and the variable that holds it."""
    if isinstance(over, ast.Tuple | ast.List | ast.Set):
        return "splits", [(each,) for each in over.elts], ()
    if isinstance(over, ast.Dict):
        return "splits", list(zip(over.keys, over.values, strict=True)), ()
    if not isinstance(over, ast.Call):
        path = _path(over)
        return ("batches" if path and tokens_of(path[-1]) & _BATCHES else "unsure"), [], path
    name = over.func.attr if isinstance(over.func, ast.Attribute) else getattr(over.func, "id", "")
    if name in ("items", "keys", "values") and isinstance(over.func, ast.Attribute):
        return _gone_over(over.func.value)
    if name in _PASSING and over.args:
        return _gone_over(over.args[0])
    if name == "zip":
        parts = [_gone_over(each) for each in over.args]
        written = [items for _, items, _ in parts if items]
        if written:
            return "splits", [tuple(n for each in row for n in each) for row in zip(*written, strict=False)], ()
        return ("batches" if any(kind == "batches" for kind, _, _ in parts) else "unsure"), [], ()
    if name == "range":
        return ("batches" if len(over.args) == 3 else "unsure"), [], ()
    return ("unsure" if tokens_of(name) & _GROUPS else "batches"), [], ()


def _path(node: ast.AST) -> tuple[str, ...]:
    """A variable and its attributes: ("self", "loader") of self.loader; of loaders[0], ("loaders",)."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        inner = _path(node.value)
        return (*inner, node.attr) if inner else ()
    return _path(node.value) if isinstance(node, ast.Subscript) else ()
