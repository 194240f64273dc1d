"""Tells training, validation and test losses apart by the place in the script that computes them."""

import linecache
import re
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "dev", "devset", "holdout"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "testset"), "test"),
}
# Variables that scripts loop over to evaluate several splits with one line, as nanoGPT does.
_LOOP_VARIABLES = ("split", "phase", "mode", "stage", "subset", "partition", "fold")
_DEEPEST = 12  # frames looked at, counted from the loss

# By place: the label that the source gives, and how many frames up it stands.
_labels: dict[tuple[tuple[CodeType, int], ...], tuple[str | None, int]] = {}
_sites: dict[tuple[tuple[CodeType, int], ...], str] = {}
_training: set[CodeType] = set()  # functions on the stack of a backward: the training loop and its callers


def note_training() -> None:
    """Remember the functions that train: what their names and loops say is not said of an evaluation inside them."""
    _training.update(frame.f_code for frame in _script_frames())


def current_split() -> str:
    """'train', 'validation' or 'test' when the calling script says so, else a label of the place."""
    frames = list(_script_frames())
    key = tuple((frame.f_code, frame.f_lasti) for frame in frames)
    if key not in _labels:
        _labels[key] = _label(frames)
    label, depth = _labels[key]
    # A variable further out than a word of the source belongs to something larger: a framework's whole fit.
    for frame in frames[: depth + 1]:
        word = _loop_variable(frame)
        if word is not None:
            return word
    if label is not None:
        return label
    if key not in _sites:
        number = len(_sites) + 1
        _sites[key] = "evaluation" if number == 1 else f"evaluation {number}"
    return _sites[key]


def _label(frames: list[FrameType]) -> tuple[str | None, int]:
    for depth, frame in enumerate(frames):
        word = _word_of_call(frame)
        if word is None and frame.f_code not in _training:
            word = _word_of_function(frame)
        if word is not None:
            return word, depth
        if frame.f_code in _training:
            break
    return None, len(frames)


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


def _loop_variable(frame: FrameType) -> str | None:
    code = frame.f_code
    named = code.co_names if code.co_name == "<module>" else (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    for name in _LOOP_VARIABLES:
        if name in named:
            value: Any = frame.f_locals.get(name)
            if isinstance(value, str) and (word := _only_word(value)):
                return word
    return None


def _word_of_call(frame: FrameType) -> str | None:
    """The split named by the source of the call, by its line, or by a loop around it."""
    code = frame.f_code
    line, last_line, start, end = list(code.co_positions())[frame.f_lasti // 2]
    if not line:
        return None
    text = linecache.getline(code.co_filename, line)
    call = text[start:end] if line == last_line and start is not None and end is not None else ""
    return _only_word(call) or _only_word(text.partition("#")[0]) or _held_out(_loops_around(code, line))


def _word_of_function(frame: FrameType) -> str | None:
    # An evaluation inside train() is not of the training data, so only the other words count.
    return _held_out(frame.f_code.co_name)


def _held_out(text: str) -> str | None:
    word = _only_word(text)
    return None if word == "train" else word


def _loops_around(code: CodeType, line: int) -> str:
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
    return " ".join(heads)


def _only_word(text: str) -> str | None:
    """The one split that the identifiers in `text` speak of; None when there is none, or more than one."""
    tokens = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    found = {_WORDS[token] for token in tokens if token in _WORDS}
    # model.eval() and model.train() are modes, not data.
    return found.pop() if len(found) == 1 else None
