"""Sick runs of the rules about batches: what their sources hold, in training and in evaluation."""

from pathlib import Path
from typing import Any

import msgspec

from gradaudit.reading.run import Run
from gradaudit.schema import OutputFacts
from gradaudit.schema.loaders import (
    AlignmentFacts,
    AttendedFacts,
    EchoFacts,
    InputFacts,
    LastStepFacts,
    LoaderFacts,
    PaddingFacts,
)
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat

IMAGES = InputFacts(
    place="0", shape=[32, 3, 8, 8], batches=30, examples=900, elements=460_800, mean=0.0, std=1.0, skewness=0.8,
    kurtosis=2.0, minimum=-0.9, maximum=1.9, mean_scatter=0.01, std_scatter=0.01, constant_share=0.0,
)  # fmt: skip
TRAINING = LoaderFacts(
    id=0, role="training", dataset=0, sampler="RandomSampler", examples=1400, batch_size=32, batches=440, passes=10,
    looked=30, inputs=[IMAGES], classes=10, label_batches=30, labels_in_batch=32, distinct=9.6, shuffled_distinct=9.7,
    hashed=1400, orders=9,
)  # fmt: skip
EVALUATION = LoaderFacts(
    id=1, role="evaluation", dataset=1, sampler="SequentialSampler", sequential=True, examples=400, batch_size=100,
    batches=40, passes=10, looked=14, inputs=[IMAGES], hashed=400, compared_with=0,
)  # fmt: skip
OWN = LoaderFacts(id=0, role="training", loader=False, looked=10, causal="attention")


def changed(facts: Any, **changes: Any) -> Any:
    """The same facts with other values."""
    return msgspec.structs.replace(facts, **changes)


def sources(path: Path, training: dict[str, Any] | None = None, evaluation: dict[str, Any] | None = None,
            **changes: Any) -> Run:  # fmt: skip
    """A run of ten classes with a training and an evaluation loader; an evaluation of None is left out."""
    loaders = [changed(TRAINING, **(training or {})), changed(EVALUATION, **(evaluation or {}))]
    return build_run(path, **{"loss": falling(), "facts": TEN, "loaders": loaders, **changes})


def one_class_a_batch(path: Path, **training: Any) -> Run:
    few = {"sampler": "SequentialSampler", "sequential": True, "distinct": 1.25, "shuffled_distinct": 9.2}
    return sources(path, {**few, **training})


def scaled_inputs(path: Path, scale: float = 0.36, shift: float = -0.06, **theirs: Any) -> Run:
    """The evaluation's input is the training's, scaled and shifted."""
    return sources(path, None, {"inputs": [changed(IMAGES, std=scale, mean=shift, **theirs)]})


def leaking(path: Path, shared: int = 100, **evaluation: Any) -> Run:
    return sources(path, None, {"shared": shared, **evaluation})


_EQUAL = {"orders": 7, "same_order": 7}


def repeating(path: Path, **training: Any) -> Run:
    return sources(path, {"workers": 4, "iterable": True, "rounds": 8, "same_batches": 8, **training})


def aligned(path: Path, shares: tuple[float, ...] = (0.04, 0.03, 0.03, 1.0), count: int = 1000, **more: Any) -> Run:
    """Ids and targets that are equal in these shares at shifts -1, 0, 1 and 2."""
    ids = more.pop("ids_calls", 1)
    facts = AlignmentFacts(
        calls=10, sequences=320, compared=[count] * 4, equal=[round(share * count) for share in shares], ids_calls=ids
    )
    others = more.pop("others", [])
    return build_run(path, loss=falling(), facts=TEN, loaders=[changed(OWN, alignments=[facts, *others], **more)])


def ending(path: Path, **facts: Any) -> Run:
    """Batches whose sequences all end with an ignored token."""
    known = {"batches": 20, "padded": 20, "rows": 640, "ended": 640, "shortest": 20, "widths": 12, **facts}
    return sources(path, {"padding": PaddingFacts(**known)})


def unmasked(path: Path, equal: int = 9000, outputs: OutputFacts | None = None, **attended: Any) -> Run:
    """A decoder that is given its targets without a causal mask, beside an encoder that needs none."""
    alignment = AlignmentFacts(embedding=1, calls=20, sequences=640, compared=[9000] * 4, equal=[300, 350, equal, 320],
                               ids_calls=2)  # fmt: skip
    decoder = {"embedding": 1, "open": 20, "in_place": True, **attended}
    of_both = [AttendedFacts(embedding=0, open=20), AttendedFacts(**decoder)]
    changes = {} if outputs is None else {"outputs": outputs}
    return sources(path, {"alignments": [alignment], "attended": of_both}, **changes)


def echoing(path: Path, **echo: Any) -> Run:
    """A target that is the last value of its window."""
    known = {"batches": 20, "examples": 640, "windows": 19, "sizes": [16], "position": [15], "positions": 1}
    return sources(path, {"echo": EchoFacts(**{**known, **echo})})


def waiting(path: Path, loss: Any = None, **step: Any) -> Run:
    """A classifier that reads its state behind the padding, and learns nothing."""
    known = {
        "looks": 20,
        "found": 20,
        "rows": 640,
        "positions": 25_600,
        "padded": 560,
        "padding": 11_200,
        "one_id": True,
    }
    return sources(path, {"last_step": LastStepFacts(**{**known, **step})}, loss=flat() if loss is None else loss)


def masking(path: Path, **mask: Any) -> Run:
    """A padding mask that leaves the padding, and nothing else."""
    known = {"masks": 40, "rows": 640, "partly": 600, "inverted": 597, "one_id": True, "fewest": 1, "most": 9}
    return sources(path, {"attended": [AttendedFacts(**{**known, **mask})]})


DATA = {
    "unshuffled_data": {
        "": (one_class_a_batch, 0),
        "share": (one_class_a_batch, 0.01),
        "batches": (one_class_a_batch, 1000),
    },
    "input_shift": {
        "": (scaled_inputs, 0),
        "scale": (lambda path: scaled_inputs(path, shift=0.0), 1e9),
        "shift": (lambda path: scaled_inputs(path, scale=1.0, shift=0.9), 1e9),
        "other_form": (lambda path: scaled_inputs(path, scale=5.0, kurtosis=9.0), 1e9),
    },
    "data_leakage": {"": (leaking, 0), "share": (leaking, 1.0)},
    "repeated_augmentation": {
        "": (repeating, 0),
        "share": (repeating, 1.01),
        "epochs": (lambda path: repeating(path, iterable=False, same_batches=0, random_states=1, **_EQUAL), 1e9),
    },
    "label_misalignment": {"": (aligned, 0), "equal": (aligned, 1.1), "targets": (aligned, 1e9)},
    "unlearned_token": {"": (ending, 0), "batches": (ending, 1000)},
    "padded_last_step": {
        "": (waiting, 0),
        "rows": (waiting, 0.9),
        "share": (waiting, 0.5),
        "steps": (waiting, 21),
        "unlearned": (waiting, 2.0),
    },
    "inverted_mask": {"": (masking, 0), "inverted": (masking, 1.0), "sequences": (masking, 1000)},
}
