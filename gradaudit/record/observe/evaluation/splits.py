"""Tells training, validation and test losses apart by the place in the script that computes them, and by its data."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, NamedTuple

from gradaudit.record.observe.evaluation import identity, parts, places, source
from gradaudit.record.observe.evaluation.identity import Token, token
from gradaudit.record.observe.evaluation.parts import FEW, Level, Part
from gradaudit.record.observe.evaluation.places import Place, place_of
from gradaudit.record.observe.evaluation.source import COMPREHENSIONS, Loop, Over, Position
from gradaudit.record.observe.evaluation.words import held_out, one_of, tokens_of
from gradaudit.record.observe.frame_locals import variables_of

_DEEPEST = 12  # frames looked at, counted from the loss
_DATA = {"data", "dataset", "examples", "samples"}  # parameters of a function that goes over one data set
_MODES = ("mode", "stage")  # parameters in whose value "train" is what the model does, and not its data

_told: ContextVar[str | None] = ContextVar("told", default=None)  # what a framework says is evaluated now, here
# Functions on the stack of a backward, the training loop and its callers; of an installed package its calls, since one
# engine of it may train and another one evaluate.
_training: set[CodeType | tuple[int, CodeType]] = set()
_unread: set[tuple[CodeType, int]] = set()  # where they stood then, whose source is read when something is evaluated
_loops_of_training: set[tuple[CodeType, tuple[int, int]]] = set()
_loader: list[Token] = []  # the one that was gone over last, with gradients
_trained: set[Token] = set()  # data sets that were gone over before a backward
_ANYTHING = (bool, int, float, str, type(None))  # equal ones are one object
_INSTALLED = ("site-packages", "dist-packages")


class _Seen(NamedTuple):
    """A frame, what the source says of its place, and its variables."""

    frame: FrameType
    place: Place
    held: dict[str, Any]


def forget() -> None:
    """Start anew: the labels of a recording count from one. Nothing that the compiler made must outlive it here."""
    for module in (identity, parts, places):
        module.forget()
    for known in (_training, _trained, _loops_of_training, _unread):
        known.clear()
    _loader.clear()


def rest() -> None:
    """A pass is over: most places are read at the first evaluation."""
    source.forget()


@contextlib.contextmanager
def told(split: str) -> Iterator[None]:
    """While open, losses without a backward belong to `split`, whatever the source says."""
    before = _told.set(split)
    try:
        yield
    finally:
        _told.reset(before)


def note_loader(loader: Any) -> None:
    """A loader is about to be gone over, with gradients: for training, if a backward follows."""
    _loader[:] = [token(loader)]


def note_training() -> None:
    """Remember the functions that train: what their names and loops say is not said of an evaluation inside them."""
    _trained.update(_loader)
    for frame in script_frames():
        _training.add(_of_training(frame))
        _unread.add((frame.f_code, frame.f_lasti))


def _of_training(frame: FrameType) -> CodeType | tuple[int, CodeType]:
    code = frame.f_code
    return (id(frame), code) if any(place in code.co_filename for place in _INSTALLED) else code


def current_part() -> Part:
    """What is evaluated now: 'train', 'validation' or 'test' when the script says so, else its place and its data."""
    told_by_framework = _told.get()
    if told_by_framework is not None:
        return Part(told_by_framework)
    if places.full():
        places.forget()
    while _unread:
        code, instruction = _unread.pop()
        _loops_of_training.update((code, loop.where) for loop in Position(code, instruction).loops())
    seen: list[_Seen] = []
    name = _name(seen)
    levels = [level for each in reversed(seen) for level in _levels(each)]
    if name is None and any(level.trained for level in levels):
        name = "train"
    if name is None:
        return Part(None, tuple(levels), tuple(each.place.where for each in seen))
    # The name tells which data it is, but for several sets under one name.
    sure = _beside_a_name([found for level in levels if level.sure for found in level.tokens])
    return Part(name, (Level(sure, sure=True),))


def _beside_a_name(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """What tells data apart: in `for split, seed in (("train", 7), ("train", 8))` the name does, and no number."""
    named = any(isinstance(found, str) and one_of([found]) for found in tokens)
    return tuple(found for found in tokens if not (named and isinstance(found, int | float)))


def _name(seen: list[_Seen]) -> str | None:
    """The split that the script names; the frames that were looked at for it are added to `seen`."""
    trains = False  # a function inside also trains, as a run_epoch(loader, optimizer=None) does
    named: str | None = None  # by the function that evaluates, unless its caller gives it other data
    for frame in script_frames():
        place, held = place_of(frame), _variables(frame)
        seen.append(_Seen(frame, place, held))
        for loop in place.loops:
            word = one_of(value for name in loop.targets if isinstance(value := held.get(name), str))
            if word := word or one_of(_element(loop, held)):
                return word
        # What a function is told of itself says nothing of another one that it calls by name.
        for name in place.options if named is None else ():
            value = held.get(name)
            word = one_of([value]) if isinstance(value, str) else None
            if word := held_out(word) if name in _MODES else word:
                return word
        if named is not None:
            # One test() for the data of all splits: what it is called with tells more than its name.
            return (held_out(place.given) if trains else place.given) or named
        # Who calls a training function speaks of training, whatever is evaluated inside it.
        named = held_out(place.word) if trains else place.word
        if trains and named is None:
            return None
        trains = trains or _of_training(frame) in _training
        if named is None and not trains:
            # An evaluation inside train() is not of the training data, so only the other words count.
            named = held_out(one_of([frame.f_code.co_name]))
    return named


def _variables(frame: FrameType) -> dict[str, Any]:
    """The variables of a frame; those of a comprehension with the ones around it, where its first iterable is."""
    held = variables_of(frame)
    code, outer = frame.f_code, frame.f_back
    if code.co_name not in COMPREHENSIONS:
        return held
    while outer is not None and not any(constant is code for constant in outer.f_code.co_consts):
        outer = outer.f_back
    return {**_variables(outer), **held} if outer is not None else held


def _element(loop: Loop, held: dict[str, Any]) -> Sequence[str]:
    """The identifiers in the element of a loop that is written out, at which the loop is now."""
    now = [held[name] for name in loop.targets if name in held and not isinstance(held[name], _ANYTHING)]
    for names in loop.elements:
        if any(held.get(name) is value for name in names for value in now):
            return names
    return ()


def _levels(seen: _Seen) -> Iterator[Level]:
    """What may tell data apart in one frame, outermost first."""
    values = [seen.held.get(name) for name in seen.place.parameters]
    yield _level(values, None)
    for loop in seen.place.loops:
        if loop.trains or (seen.frame.f_code, loop.where) in _loops_of_training:
            continue  # the evaluation is one of its parts
        whole = _iterated(loop, seen)
        if identity.is_set(whole):
            yield Level((token(whole),), None, sure=True, trained=token(whole) in _trained)
        values = [seen.held.get(name) for name in loop.targets]
        given = loop.iterates[:1] if loop.iterates[:1] and loop.iterates[0] in seen.place.inputs else ()
        yield _level(values, _over(loop, whole, *given))


def _level(values: Sequence[Any], over: Over | None) -> Level:
    tokens = tuple(map(identity.number if over == "splits" else token, values))
    return Level(tokens, over, sure=over == "splits" or any(map(identity.is_set, values)))


def _iterated(loop: Loop, seen: _Seen) -> Any:
    """What a loop goes over, where a variable or its attribute holds it."""
    if not loop.iterates:
        return None
    name, *attributes = loop.iterates
    value = seen.held.get(name, seen.frame.f_globals.get(name))
    for attribute in attributes:
        value = identity.attributes_of(value).get(attribute)
    return value


def _over(loop: Loop, whole: Any, given: str = "") -> Over:
    """What a loop goes over, by what it holds where its source does not tell; `given` is a parameter's name."""
    if loop.over == "splits" or whole is None:
        return loop.over
    if identity.gives_batches(whole):
        return "batches"
    if isinstance(whole, dict) and whole and all(isinstance(key, str) for key in whole):
        return "splits"
    if isinstance(whole, list | tuple):
        if any(map(identity.is_set, whole[:FEW])):
            return "splits"
        return "batches" if len(whole) > FEW or tokens_of(given) & _DATA else loop.over
    return loop.over


def script_frames() -> Iterator[FrameType]:
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
