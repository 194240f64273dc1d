"""Whether a model was trained before an optimizer's first step, from who steps when and what terms reach."""

from types import SimpleNamespace

import pandas

from gradaudit.schema import GraphFacts, Meta, ModuleFacts, TensorFacts, TermFacts
from gradaudit.signals.loss.trained_before import begins_new, trained_before

NAMES = ["body.weight", "head.weight"]


def run_with(steps, tensors, terms=(), modules=("",), attempt=0):
    """`steps`: the first and last global step of each optimizer; `tensors`: the names that each records."""
    known = [
        TensorFacts(id=10 * owner + at, name=name, recorded_with=owner, optimizer=owner)
        for owner, names in enumerate(tensors)
        for at, name in enumerate(names)
    ]
    meta = Meta(
        tensors=known, attempt=attempt, graph=GraphFacts(terms=list(terms)),
        modules=[ModuleFacts(id=at, name=name, module_class="Net") for at, name in enumerate(modules)],
    )  # fmt: skip
    run = SimpleNamespace(meta=meta, trainings=[])
    for number, (first, last) in enumerate(steps):
        run.trainings.append(
            SimpleNamespace(
                id=number,
                run=run,
                answers={},
                steps=pandas.DataFrame({"global_step": [first, last]}),
                tensors=[tensor for tensor in known if tensor.recorded_with == number],
            )
        )
    return run


def term(optimizer, first, tensors):
    return TermFacts(id=optimizer, first=first, last=first, optimizers=[optimizer], tensors=tensors, used=1)


def test_one_optimizer_begins_new_unless_the_run_was_resumed():
    run = run_with([(0, 99)], [NAMES])
    assert begins_new(run.trainings[0])
    assert not trained_before(run.trainings[0])
    assert not begins_new(run_with([(0, 99)], [NAMES], attempt=1).trainings[0])


def test_optimizers_that_take_turns_train_one_model_at_once():
    run = run_with([(0, 98), (1, 99)], [["generator.weight"], ["critic.weight"]], modules=("generator", "critic"))
    assert not trained_before(run.trainings[1])


def test_a_second_optimizer_over_what_the_first_one_trained():
    terms = [term(0, 0, [0, 1]), term(1, 50, [0, 1])]
    assert trained_before(run_with([(0, 49), (50, 99)], [NAMES, []], terms).trainings[1])


def test_the_model_of_the_next_fold_is_new():
    terms = [term(0, 0, [0, 1]), term(1, 50, [10, 11])]
    assert not trained_before(run_with([(0, 49), (50, 99)], [NAMES, NAMES], terms).trainings[1])
    # By its names, where nobody looked at the graph.
    assert not trained_before(run_with([(0, 49), (50, 99)], [NAMES, NAMES]).trainings[1])


def test_parts_that_were_added_to_a_trained_model():
    adapters = ["body.adapter.weight"]
    assert trained_before(run_with([(0, 49), (50, 99)], [NAMES, adapters]).trainings[1])
    apart = run_with([(0, 49), (50, 99)], [["a.weight"], ["b.weight"]], modules=("a", "b"))
    assert not trained_before(apart.trainings[1])
