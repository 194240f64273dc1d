"""Real small trainings that do odd things on purpose: what judges schedules, optimizers and memory stays quiet."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler, swa_utils
from torch.utils.data import DataLoader, TensorDataset

from gradaudit.audit.runner import examine
from gradaudit.diagnosers.clipping_before_unscale import clipping_before_unscale
from gradaudit.diagnosers.memory_growth import memory_growth
from gradaudit.diagnosers.recreated_optimizer import recreated_optimizer
from gradaudit.diagnosers.replaced_parameter import replaced_parameter
from gradaudit.diagnosers.scheduler_units import scheduler_units
from gradaudit.diagnosers.unregistered_parameter import unregistered_parameter
from tests.record.training import classifier, recorded, run_of

RULES = [
    clipping_before_unscale, memory_growth, recreated_optimizer, replaced_parameter, scheduler_units,
    unregistered_parameter,
]  # fmt: skip


def loader(batches=8):
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(8 * batches, 10), torch.randint(0, 3, (8 * batches,))), 8)


def step(model, optimizer, x, y):
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def adam(parameters, rate=1e-3):
    return torch.optim.Adam(parameters, rate)


def generator_and_discriminator():
    """Each optimizer steps for its own network, with a scheduler each that is stepped at every iteration."""
    generator, discriminator = nn.Linear(4, 10), nn.Linear(10, 1)
    ours, theirs = adam(generator.parameters()), adam(discriminator.parameters())
    schedules = [lr_scheduler.ExponentialLR(one, 0.999) for one in (ours, theirs)]
    for turn in range(60):
        fake = generator(torch.randn(8, 4))
        theirs.zero_grad()
        (
            functional.softplus(discriminator(fake.detach())) + functional.softplus(-discriminator(torch.randn(8, 10)))
        ).mean().backward()
        theirs.step()
        if turn % 5 == 0:
            ours.zero_grad()
            functional.softplus(-discriminator(fake)).mean().backward()
            ours.step()
        for one in schedules:
            one.step()


def gradual_unfreezing():
    """A new optimizer each time that another layer is unfrozen."""
    model = nn.Sequential(*[nn.Linear(10, 10) for _ in range(7)], nn.Linear(10, 3))
    for part in model[:-1]:
        part.requires_grad_(False)
    for first in reversed(range(8)):
        model[first].requires_grad_(True)
        optimizer = adam([p for p in model.parameters() if p.requires_grad])
        for x, y in loader():
            step(model, optimizer, x, y)


def phases():
    """A new optimizer and a warm restart in each of three phases."""
    model = classifier()
    for rate in (1e-2, 1e-3, 1e-4):
        optimizer = adam(model.parameters(), rate)
        scheduler = lr_scheduler.OneCycleLR(optimizer, rate, total_steps=17)
        for _ in range(2):
            for x, y in loader():
                step(model, optimizer, x, y)
                scheduler.step()


def folds():
    """Cross-validation in place: the weights start again with each optimizer."""
    model = classifier()
    start = copy.deepcopy(model.state_dict())
    for _ in range(6):
        model.load_state_dict(start)
        optimizer = adam(model.parameters())
        for x, y in loader():
            step(model, optimizer, x, y)


def a_new_head_with_a_new_optimizer():
    """The head is replaced before the optimizer is made anew; the old one still exists."""
    model = classifier()
    before = adam(model.parameters())
    for x, y in loader():
        step(model, before, x, y)
    model[3] = nn.Linear(16, 3)
    after = adam(model.parameters())
    for x, y in loader():
        step(model, after, x, y)


def teacher_and_average():
    """A frozen teacher, an average of the weights, a parameter of no module, and a branch that is not used."""
    model = classifier()
    teacher, average = copy.deepcopy(model), swa_utils.AveragedModel(model)
    temperature, unused = nn.Parameter(torch.ones(1)), nn.Linear(16, 3)
    optimizer = adam([*model.parameters(), temperature, *unused.parameters()])
    schedule = swa_utils.SWALR(optimizer, swa_lr=1e-4, anneal_epochs=2)
    for _ in range(6):
        for x, _ in loader():
            optimizer.zero_grad()
            (functional.mse_loss(model(x) * temperature, teacher(x).detach())).backward()
            optimizer.step()
        average.update_parameters(model)
        schedule.step()


def by_epochs():
    """Schedules in epochs, several groups, a plateau, and warm restarts, each stepped once an epoch."""
    model = classifier()
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": 0.01}], 0.1)
    schedules = [
        lr_scheduler.CosineAnnealingLR(optimizer, T_max=6),
        lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2),
    ]
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    for _ in range(6):
        for x, y in loader():
            step(model, optimizer, x, y)
        for one in schedules:
            one.step()
        plateau.step(1.0)


def fractions_of_epochs():
    """Warm restarts are told the epoch as a fraction at every batch."""
    model, data = classifier(), loader()
    optimizer = adam(model.parameters())
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    for epoch in range(6):
        for index, (x, y) in enumerate(data):
            step(model, optimizer, x, y)
            scheduler.step(epoch + index / len(data))


def accumulated(steps_of_batches=True):
    """Gradients of four batches, and a schedule that is planned and stepped in batches."""
    model, data = classifier(), loader()
    optimizer = adam(model.parameters())
    scheduler = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=6 * len(data))
    for _ in range(6):
        for index, (x, y) in enumerate(data):
            functional.cross_entropy(model(x), y).backward()
            if index % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()


def a_closure():
    """LBFGS calls its closure several times a step."""
    model = classifier()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    x, y = next(iter(loader()))

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    scheduler = lr_scheduler.StepLR(optimizer, 10)
    for _ in range(20):
        optimizer.step(closure)
        scheduler.step()


def scaled_twice():
    """A generator and a discriminator under one GradScaler, both clipped after unscaling."""
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    models = [classifier(), classifier()]
    optimizers = [adam(model.parameters()) for model in models]
    for x, y in loader(20):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            scaler.scale(functional.cross_entropy(model(x), y)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
        scaler.update()


PROGRAMS = [
    generator_and_discriminator, gradual_unfreezing, phases, folds, a_new_head_with_a_new_optimizer,
    teacher_and_average, by_epochs, fractions_of_epochs, accumulated, a_closure, scaled_twice,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:The epoch parameter in")
@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_it_is_quiet(tmp_path, program):
    with recorded(tmp_path / "run"):
        torch.manual_seed(1)
        program()
    run = run_of(tmp_path / "run")
    assert not run.meta.disabled
    assert run.meta.schedules.recorded
    found = {rule.name: [one.headline for one in examine(rule, run).findings] for rule in RULES}
    assert not {name: headlines for name, headlines in found.items() if headlines}
