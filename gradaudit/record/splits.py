"""Tells training, validation and test losses apart by the place in the script that computes them."""

import contextlib
import linecache
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from gradaudit.record.variables import variables_of

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "dev", "devset", "holdout"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "testset"), "test"),
}
# Parameters by which functions are told what to evaluate.
_PARAMETERS = ("split", "phase", "mode", "stage", "subset", "partition", "fold")
_DATA = {
    "batches", "data", "dataloader", "dataset", "dl", "ds", "features", "idx", "index", "indices", "inputs", "iter",
    "iterator", "loader", "mask", "samples", "set", "split", "trainset", "x", "y",
}  # fmt: skip
_DEEPEST = 12  # frames looked at, counted from the loss
_MOST_DATA = 8  # kinds of data at one place; more are batches that look like data


class _Place(NamedTuple):
    """What the source says where a frame stands: cached, since reading it costs more than the loss."""

    where: tuple[Any, ...]  # the function, and the lines and columns of its call: a faster call has another offset
    word: str | None  # the split named by the call, its line or a loop around it
    given: str | None  # the split named by what the call is given, or by the variable that takes its result
    loops: tuple[str, ...]  # loop variables around it
    options: tuple[str, ...]  # parameters that may name a split
    data: tuple[str, ...]  # variables and parameters that may hold the data


_places: dict[tuple[CodeType, int], _Place] = {}
# By place: the data seen there, each with its label.
_sites: dict[tuple[tuple[Any, ...], ...], dict[Any, str]] = {}
_MOST_PLACES = 10_000  # code that a script makes at every step would otherwise be kept for ever
_told: ContextVar[str | None] = ContextVar("told", default=None)  # what a framework says is evaluated now, here
# Functions on the stack of a backward, the training loop and its callers; of an installed package its calls, since one
# engine of it may train and another one evaluate.
_training: set[CodeType | tuple[int, CodeType]] = set()
_INSTALLED = ("site-packages", "dist-packages")


def forget() -> None:
    """Start anew: the labels of a recording count from one. Code that the compiler made must not outlive it here."""
    _places.clear()
    _sites.clear()
    _training.clear()


@contextlib.contextmanager
def told(split: str) -> Iterator[None]:
    """While open, losses without a backward belong to `split`, whatever the source says."""
    before = _told.set(split)
    try:
        yield
    finally:
        _told.reset(before)


def note_training() -> None:
    """Remember the functions that train: what their names and loops say is not said of an evaluation inside them."""
    _training.update(map(_of_training, _script_frames()))


def _of_training(frame: FrameType) -> CodeType | tuple[int, CodeType]:
    code = frame.f_code
    return (id(frame), code) if any(place in code.co_filename for place in _INSTALLED) else code


def current_split() -> str:
    """'train', 'validation' or 'test' when the calling script says so, else a label of the place and its data."""
    told_by_framework = _told.get()
    if told_by_framework is not None:
        return told_by_framework
    if len(_places) > _MOST_PLACES or len(_sites) > _MOST_PLACES:
        _places.clear()
        _sites.clear()
    seen: list[FrameType] = []
    trains = False  # a function inside also trains, as a run_epoch(loader, optimizer=None) does
    named: str | None = None  # by the function that evaluates, unless its caller gives it other data
    for frame in _script_frames():
        seen.append(frame)
        place = _place(frame)
        # What a function is told of itself says nothing of another one that it calls by name.
        telling = place.loops if named is not None else (*place.loops, *place.options)
        held = variables_of(frame) if telling else {}
        for name in telling:
            value = held.get(name)
            if isinstance(value, str) and (word := _only_word(value)):
                return word
        if named is not None:
            # One test() for the data of all splits: what it is called with tells more than its name.
            return (_held_out_only(place.given) if trains else place.given) or named
        # Who calls a training function speaks of training, whatever is evaluated inside it.
        named = _held_out_only(place.word) if trains else place.word
        if trains and named is None:
            break
        trains = trains or _of_training(frame) in _training
        if named is None and not trains:
            # An evaluation inside train() is not of the training data, so only the other words count.
            named = _held_out(frame.f_code.co_name)
    return named or _label_of_place(seen)


def _label_of_place(frames: list[FrameType]) -> str:
    """A label for each kind of data evaluated at a place that does not name it."""
    labels = _sites.setdefault(tuple(_place(frame).where for frame in frames), {})
    data = tuple(_identity(value) for frame in frames for value in _data_of(frame))
    if data not in labels:
        if len(labels) >= _MOST_DATA:
            return next(iter(labels.values()))
        number = sum(len(known) for known in _sites.values()) + 1
        labels[data] = "evaluation" if number == 1 else f"evaluation {number}"
    return labels[data]


def _data_of(frame: FrameType) -> list[Any]:
    names = _place(frame).data
    held = variables_of(frame) if names else {}
    return [held.get(name) for name in names]


def _identity(value: Any) -> Any:
    """What tells one data set from another: the object, but not a batch, a number or a model."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, int | float | complex | torch.Tensor | torch.nn.Module):
        return None
    if isinstance(value, DataLoader):
        return id(value.dataset)  # loaders are made anew for each pass
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if any(isinstance(item, torch.Tensor | int | float) for item in items):
        return None
    return id(value)


def _place(frame: FrameType) -> _Place:
    code = frame.f_code
    key = (code, frame.f_lasti)
    if key not in _places:
        line, last_line, start, end = list(code.co_positions())[frame.f_lasti // 2]
        text = linecache.getline(code.co_filename, line) if line else ""
        call = text[start:end] if line == last_line and start is not None and end is not None else ""
        heads = _loops_around(code, line) if line else []
        targets = tuple(name for head in heads for name in _targets(head))
        # A generator expression's only parameter, ".0", is an iterator: another one each time.
        parameters = [
            name for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if name.isidentifier()
        ]
        said = _without_keywords(text.partition("#")[0])
        word = _only_word(_without_keywords(call)) or _only_word(said) or _held_out(" ".join(heads))
        options = tuple(name for name in parameters if name in _PARAMETERS)
        where = (code, line, last_line, start, end)
        _places[key] = _Place(where, word, _given(call, text), targets, options, (*targets, *parameters))
    return _places[key]


def _given(call: str, line: str) -> str | None:
    """The split that the arguments of a call name, or else the variables that its result is assigned to."""
    _, opened, arguments = call.partition("(")
    # What trains may be any setting, so it must name data.
    names = re.findall(r"[A-Za-z_]\w*", _without_keywords(f"({arguments}"))
    found = {word for name in names if (word := _only_word(name)) and _of_data(name, word)}
    if len(found) == 1:
        return found.pop()
    assigned, equals, _ = line.partition("#")[0].partition("=")
    return _only_word(assigned) if opened and equals and not found and "(" not in assigned else None


def _without_keywords(text: str) -> str:
    """`text` without the names of keyword arguments, which are the callee's words: training=False is a mode."""
    return re.sub(r"(?<=[(,])\s*[A-Za-z_]\w*\s*=(?!=)", " ", text)


def _of_data(name: str, word: str) -> bool:
    return word != "train" or bool(_tokens(name) & _DATA) or name == "train"


def _targets(head: str) -> list[str]:
    """The variables of a `for` statement."""
    return re.findall(r"[A-Za-z_]\w*", head.partition(" in ")[0].replace("async ", "").strip().removeprefix("for "))


def _script_frames() -> Iterator[FrameType]:
    """The frames of the user's own code, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    left = 64
    found = 0
    while frame is not None and left and found < _DEEPEST:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("torch", "gradaudit", "contextlib", "functools"):
            found += 1
            yield frame
        frame, left = frame.f_back, left - 1


def _held_out(text: str) -> str | None:
    return _held_out_only(_only_word(text))


def _held_out_only(word: str | None) -> str | None:
    return None if word == "train" else word


def _loops_around(code: CodeType, line: int) -> list[str]:
    """The heads of the `for` statements around a line of a function."""
    text = linecache.getline(code.co_filename, line)
    least = len(text) - len(text.lstrip())
    heads = []
    for number in range(line - 1, code.co_firstlineno - 1, -1):
        text = linecache.getline(code.co_filename, number)
        indent = len(text) - len(text.lstrip())
        if text.strip() and indent < least:
            least = indent
            if text.lstrip().startswith(("for ", "async for ")):
                heads.append(text)
        if not least:
            break
    return heads


def _only_word(text: str) -> str | None:
    """The one split that the identifiers in `text` speak of; None when there is none, or more than one."""
    found = {_WORDS[token] for token in _tokens(text) if token in _WORDS}
    # model.eval() and model.train() are modes, not data; eval_loader is data.
    if any(
        {"eval", "evaluation"} & (words := _tokens(name)) and words & _DATA for name in text.split() if "eval" in name
    ):
        found.add("validation")
    return found.pop() if len(found) == 1 else None


def _tokens(text: str) -> set[str]:
    """The words of identifiers, in lower case."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()))
