"""Which split of the data an identifier speaks of: train, validation or test; a mode of the model is no data."""

import re
from collections.abc import Iterable

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "dev", "devset", "holdout"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "testset"), "test"),
}
_SHORT = {"tr": "train", "va": "validation", "te": "test"}  # as in x_tr; alone they are anything
_DATA = {
    "batch", "batches", "data", "dataloader", "dataset", "dl", "ds", "features", "idx", "index", "indices", "inputs",
    "iter", "iterator", "labels", "loader", "mask", "samples", "set", "split", "targets", "trainset", "x", "xs", "y",
    "ys",
}  # fmt: skip
# is_train, do_eval and train_mode are settings, whatever they are given.
_SETTINGS = {"do", "enabled", "flag", "is", "mode", "should"}


def splits_of(name: str) -> set[str]:
    """The splits that an identifier, or a few words, speak of."""
    tokens = tokens_of(name)
    if tokens & _SETTINGS or name.lower() == "training":
        return set()
    found = {_WORDS[token] for token in tokens if token in _WORDS}
    # Xtrain and yval are written as one word.
    inner = {token[1:] for token in tokens if token[0] in "xy"}
    found |= {_WORDS.get(token) or _SHORT[token] for token in inner if token in _WORDS or token in _SHORT}
    if tokens & _DATA:
        found |= {_SHORT[token] for token in tokens if token in _SHORT}
        # model.eval() is a mode; eval_loader is data.
        if tokens & {"eval", "evaluation"}:
            found.add("validation")
    return found


def one_of(names: Iterable[str]) -> str | None:
    """The one split that these identifiers speak of; None when there is none, or more than one."""
    found = {split for name in names for split in splits_of(name)}
    return found.pop() if len(found) == 1 else None


def held_out(split: str | None) -> str | None:
    """The split, if it is not the training data's."""
    return None if split == "train" else split


def is_data(name: str) -> bool:
    """Whether an identifier with a split's word is data: what trains may be any setting, unless it says so."""
    found = splits_of(name)
    return found != {"train"} or name == "train" or name[:1] in "xyXY" or bool(tokens_of(name) & _DATA)


def tokens_of(name: str) -> set[str]:
    """The words of identifiers, in lower case."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
