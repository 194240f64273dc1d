"""What is seen of batches: roles, moments, classes, shifts, equal examples; and that a script does not notice."""

import random

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from gradaudit.record import session
from gradaudit.record.observe.batches import batches, sources
from gradaudit.record.observe.batches.contents import tensors_of
from tests.record.training import classifier, record, recorded, run_of, script


def data(count=64, seed=1, scale=1.0, sort=False):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(count, 10, generator=generator) * scale, torch.randint(0, 3, (count,), generator=generator)
    return TensorDataset(x, y.sort().values if sort else y)


def train(loader, held_out=None, epochs=2, model=None):
    """The losses of a small classifier."""
    model = model or classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            losses += [functional.cross_entropy(model(x), y).item() for x, y in held_out or ()]
    return losses


def facts(tmp_path, program, **settings):
    with recorded(tmp_path / "run", **settings):
        program()
    run = run_of(tmp_path / "run")
    assert run.meta.disabled == []
    return run.meta.loaders


def test_training_and_evaluation_are_told_apart(tmp_path):
    training, evaluation = facts(
        tmp_path,
        lambda: train(DataLoader(data(), 16, shuffle=True), DataLoader(data(32, seed=2, scale=3.0), 16)),
    )
    assert (training.role, training.examples, training.batch_size, training.passes) == ("training", 64, 16, 2)
    assert (evaluation.role, evaluation.sequential, evaluation.passes) == ("evaluation", True, 2)
    assert (training.batches, evaluation.batches) == (8, 4)
    (ours,), (theirs,) = training.inputs, evaluation.inputs
    assert (ours.place, ours.shape) == ("0", [16, 10])
    everything = data()[:][0]
    assert ours.mean == pytest.approx(everything.mean().item(), abs=1e-6)
    assert ours.std == pytest.approx(everything.std(correction=0).item(), rel=1e-6)
    assert (ours.minimum, ours.maximum) == pytest.approx((everything.min().item(), everything.max().item()))
    assert theirs.std == pytest.approx(3, rel=0.1)
    z = (everything - everything.mean()) / everything.std(correction=0)
    assert ours.kurtosis == pytest.approx((z**4).mean().item(), rel=1e-4)
    assert ours.skewness == pytest.approx((z**3).mean().item(), abs=1e-4)
    assert (training.shared, evaluation.shared, evaluation.compared_with) == (0, 0, 0)


def test_channels_of_images_have_moments_of_their_own(tmp_path):
    images = torch.randn(32, 3, 16, 16) * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    images += torch.tensor([0.0, 5.0, -5.0])[:, None, None]
    loader = DataLoader(TensorDataset(images, torch.zeros(32)), 16)
    evaluation, *_ = facts(tmp_path, lambda: ([None for _ in loader], train(DataLoader(data(), 16)))[1])
    (found, _) = evaluation.inputs
    assert [one.mean for one in found.channels] == pytest.approx([0.0, 5.0, -5.0], abs=0.3)
    assert [one.std for one in found.channels] == pytest.approx([1.0, 2.0, 4.0], rel=0.1)
    assert found.channels[0].kurtosis == pytest.approx(3.0, rel=0.2)


def test_values_that_are_not_finite_and_constant_features_are_counted(tmp_path):
    x, y = data()[:]
    x = x.clone()
    x[:, :5] = 7
    x[::4, 9] = float("nan")
    (source,) = facts(tmp_path, lambda: train(DataLoader(TensorDataset(x, y), 16)))
    assert source.inputs[0].nonfinite_share == pytest.approx(1 / 40)
    assert source.inputs[0].constant_share == pytest.approx(0.5)


def test_classes_of_a_sorted_and_of_a_shuffled_loader(tmp_path):
    (ordered,) = facts(tmp_path / "a", lambda: train(DataLoader(data(sort=True), 8)))
    (mixed,) = facts(tmp_path / "b", lambda: train(DataLoader(data(sort=True), 8, shuffle=True)))
    assert (ordered.classes, ordered.label_batches, ordered.labels_in_batch) == (3, 16, 8)
    assert ordered.distinct < 1.4
    assert ordered.shuffled_distinct > 2.7
    assert mixed.distinct == pytest.approx(mixed.shuffled_distinct, rel=0.1)
    assert (ordered.orders, ordered.same_order) == (1, 1)
    assert (mixed.orders, mixed.same_order, mixed.sequential) == (1, 0, False)


def test_an_evaluation_knows_what_trained_before_it(tmp_path):
    def program():
        model = classifier()
        for scale in (1.0, 9.0):
            train(DataLoader(data(scale=scale), 16), DataLoader(data(seed=2, scale=scale), 16), model=model)
        train(DataLoader(data(seed=3), 16), model=model, epochs=1)

    found = facts(tmp_path, program)
    assert [(one.role, one.after) for one in found if one.role == "evaluation"] == [
        ("evaluation", [0]),
        ("evaluation", [2]),
    ]


def test_folds_are_not_held_against_each_other(tmp_path):
    whole = data()
    folds = [list(range(32)), list(range(32, 64))]
    subsets = [[Subset(whole, part) for part in parts] for parts in (folds, folds[::-1])]

    def program():
        for ours, theirs in subsets:
            train(DataLoader(ours, 16), DataLoader(theirs, 16))

    found = facts(tmp_path, program)
    assert [(one.compared_with, one.shared, one.shared_indices) for one in found if one.role == "evaluation"] == [
        (0, 0, 0),
        (2, 0, 0),
    ]


def test_shared_examples_are_counted(tmp_path):
    whole = data(128)
    held_out = TensorDataset(
        *(torch.cat([new[:24], old[:8]]) for new, old in zip(data(24, 5)[:], whole[:], strict=True))
    )
    _, evaluation = facts(tmp_path, lambda: train(DataLoader(whole, 16, shuffle=True), DataLoader(held_out, 16)))
    assert (evaluation.compared_with, evaluation.shared, evaluation.hashed) == (0, 8, 32)
    assert evaluation.shared_indices == -1


def test_subsets_of_one_data_set_share_indices(tmp_path):
    whole = data(128)
    ours, theirs = Subset(whole, range(100)), Subset(whole, list(range(90, 128)))
    _, evaluation = facts(tmp_path / "a", lambda: train(DataLoader(ours, 16, shuffle=True), DataLoader(theirs, 16)))
    assert evaluation.shared_indices == 10
    _, evaluation = facts(tmp_path / "b", lambda: train(DataLoader(whole, 16, shuffle=True), DataLoader(theirs, 16)))
    assert evaluation.shared_indices == 38


def test_an_evaluation_of_the_training_data_has_its_number(tmp_path):
    whole = data()
    training, evaluation = facts(tmp_path, lambda: train(DataLoader(whole, 16, shuffle=True), DataLoader(whole, 32)))
    assert training.dataset == evaluation.dataset
    assert evaluation.compared_with == -1


class Stream(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(3)
        for _ in range(32):
            yield torch.randn(10, generator=generator), int(torch.randint(0, 3, (), generator=generator))


class Noise(Dataset):
    def __init__(self):
        self.random = numpy.random.default_rng(0)

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return torch.from_numpy(self.random.standard_normal(10)).float(), index % 3


@pytest.mark.parametrize(("made", "states"), [(Stream, 0), (Noise, 1)])
def test_equal_batches_of_workers_are_counted(tmp_path, made, states):
    (source,) = facts(tmp_path, lambda: train(DataLoader(made(), 8, num_workers=2), epochs=1))
    assert (source.workers, source.iterable, source.random_states) == (2, made is Stream, states)
    assert (source.rounds, source.same_batches) == ({Stream: 4, Noise: 2}[made],) * 2


def test_workers_that_share_the_work_yield_different_batches(tmp_path):
    (source,) = facts(tmp_path, lambda: train(DataLoader(data(), 8, num_workers=2), epochs=1))
    assert (source.rounds, source.same_batches) == (4, 0)


class Words(nn.Module):
    def __init__(self, double=False, copies=False):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.mix = nn.GRU(8, 8, batch_first=True)
        self.double, self.copies = double, copies

    def forward(self, ids, labels):
        logits = self.head(self.mix(self.embedding(ids))[0])
        if self.copies:
            return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return functional.cross_entropy(logits[:, :-1].reshape(-1, 20), labels[:, 1:].reshape(-1))


def words(ids_of, **options):
    torch.manual_seed(0)
    model = Words(**options)
    optimizer = torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        model(*ids_of(torch.randint(0, 20, (4, 13), generator=generator))).backward()
        optimizer.step()
        optimizer.zero_grad()


CASES = {
    "shifted in the model": (lambda seq: (seq, seq), {}, 2, True),
    "shifted before and in the model": (lambda seq: (seq[:, :-1], seq[:, 1:]), {}, 3, True),
    "shifted before the model": (lambda seq: (seq[:, :-1], seq[:, 1:]), {"copies": True}, 2, True),
    "not shifted": (lambda seq: (seq, seq), {"copies": True}, 1, True),
}


@pytest.mark.parametrize("case", CASES)
def test_targets_are_found_at_their_shift(tmp_path, case):
    ids_of, options, place, _ = CASES[case]
    (source,) = facts(tmp_path, lambda: words(ids_of, **options))
    (alignment,) = source.alignments
    assert not source.loader
    assert source.causal == "recurrent"
    shares = [equal / compared for equal, compared in zip(alignment.equal, alignment.compared, strict=True)]
    assert shares[place] == 1
    assert max(share for index, share in enumerate(shares) if index != place) < 0.3


def test_positions_that_a_slice_leaves_out_are_counted(tmp_path):
    """The first position has no prediction: seq[2:] is the next id of the others."""

    class Later(Words):
        def forward(self, ids, labels):
            logits = self.head(self.mix(self.embedding(ids))[0])
            return functional.cross_entropy(logits[:, 1:].reshape(-1, 20), labels[:, 1:].reshape(-1))

    torch.manual_seed(0)
    model = Later()
    optimizer = torch.optim.Adam(model.parameters())

    def program():
        for _ in range(3):
            seq = torch.randint(0, 20, (4, 13))
            model(seq[:, :-1], seq[:, 1:]).backward()
            optimizer.step()

    (source,) = facts(tmp_path, program)
    assert source.alignments[0].equal[2] == source.alignments[0].compared[2] > 0


def test_causal_attention_and_masks_are_seen(tmp_path):
    class Attention(Words):
        def __init__(self, fused):
            super().__init__(copies=True)
            self.fused = fused
            if not fused:
                self.register_buffer("hidden", torch.ones(13, 13).tril().view(1, 13, 13))

        def forward(self, ids, labels):
            x = self.embedding(ids)
            if self.fused:
                x = functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]
            return functional.cross_entropy(self.head(x).flatten(0, 1), labels.flatten())

    for fused, why in ((True, "attention"), (False, "mask")):
        model = Attention(fused)
        optimizer = torch.optim.Adam(model.parameters())

        def program(model=model, optimizer=optimizer):
            for _ in range(3):
                seq = torch.randint(0, 20, (4, 13))
                model(seq, seq).backward()
                optimizer.step()

        (source,) = facts(tmp_path / why, program)
        assert source.causal == why


def padded(end, pad, learned=True):
    """Rows of random length that end with `end`, padded to the longest; labels ignore the padding id."""
    generator = torch.Generator().manual_seed(4)
    rows = []
    for _ in range(64):
        length = int(torch.randint(3, 12, (), generator=generator))
        rows.append(torch.cat([torch.randint(3, 20, (length,), generator=generator), torch.tensor([end])]))

    def collate(examples):
        ids = nn.utils.rnn.pad_sequence(examples, batch_first=True, padding_value=pad)
        lengths = torch.tensor([len(example) for example in examples])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(ids == pad, -100)}

    return DataLoader(rows, 8, collate_fn=collate)


@pytest.mark.parametrize(("end", "pad"), [(1, 1), (1, 0)])
def test_an_end_token_that_is_ignored(tmp_path, end, pad):
    def program():
        torch.manual_seed(0)
        model = Words()
        optimizer = torch.optim.Adam(model.parameters())
        for batch in padded(end, pad):
            model(batch["input_ids"], batch["labels"]).backward()
            optimizer.step()

    (source,) = facts(tmp_path, program)
    found = source.padding
    assert (found.batches, found.padded, found.one_id, found.learned) == (8, 8, True, 0)
    if end == pad:
        assert (found.rows, found.ended, found.shortest) == (64, 64, 8)
        assert found.attended == 64
    else:
        assert found.ended < 64
        assert (found.shortest, found.attended) == (0, 0)


def sentences(end, pad, whole=False):
    """[64, 10]: 3 to 8 different words, an end token, and padding; `whole` ones have neither at the most."""
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randint(3, 9, (64, 1), generator=generator) + 2 * whole
    places = torch.arange(10)
    ids = torch.where(places < lengths, torch.randint(3, 20, (64, 10), generator=generator), pad)
    return torch.where(places == lengths, end, ids)


@pytest.mark.parametrize(
    ("end", "pad", "shift", "ended"),
    [(1, 1, True, True), (1, 0, True, False), (1, 1, False, True)],
    ids=["one id", "two ids", "shifted in the model"],
)
def test_the_end_token_is_found_by_the_targets_of_the_loss(tmp_path, end, pad, shift, ended):
    """The loader yields ids alone; the targets are the next ones, or are ignored."""

    def program():
        torch.manual_seed(0)
        model = Words(copies=shift)
        optimizer = torch.optim.Adam(model.parameters())
        for (ids,) in DataLoader(TensorDataset(sentences(end, pad)), 16):
            labels = ids.masked_fill(ids == pad, -100)
            model(*((ids[:, :-1], labels[:, 1:]) if shift else (ids, labels))).backward()
            optimizer.step()

    (source,) = facts(tmp_path, program)
    found = source.padding
    assert (found.batches, found.padded, found.widths, found.one_id, found.learned) == (4, 4, 1, True, 0)
    assert found.ended == found.rows == 64
    assert found.varied == (4 if ended else 0)


def test_a_target_that_is_left_out_after_the_last_item_is_no_end(tmp_path):
    """A recommender has no end token: the longest lists are whole, and their last item has no target."""

    def program():
        torch.manual_seed(0)
        model = Words(copies=True)
        optimizer = torch.optim.Adam(model.parameters())
        for (ids,) in DataLoader(TensorDataset(sentences(0, 0, whole=True)), 16):
            labels = torch.cat([ids[:, 1:].masked_fill(ids[:, 1:] == 0, -100), torch.full((16, 1), -100)], 1)
            model(ids, labels).backward()
            optimizer.step()

    (source,) = facts(tmp_path, program)
    assert source.padding.ended < source.padding.rows == 64


def test_tags_are_no_texts(tmp_path):
    """Their padding is ignored, too, and nothing is written that would have an end."""

    def program():
        torch.manual_seed(0)
        model = Words(copies=True)
        optimizer = torch.optim.Adam(model.parameters())
        ids = sentences(0, 0)
        for batch in DataLoader(TensorDataset(ids, (ids % 4).masked_fill(ids == 0, -100)), 16):
            model(*batch).backward()
            optimizer.step()

    (source,) = facts(tmp_path, program)
    assert (source.padding.padded, source.padding.varied) == (4, 0)


def test_the_script_gets_what_it_would_get(tmp_path):
    """The same batches, losses and random numbers, from all three sources of them."""

    def program(workers):
        torch.manual_seed(5)
        numpy.random.seed(5)
        random.seed(5)
        loader = DataLoader(data(), 8, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        losses = train(loader, DataLoader(data(32, 2), 8))
        iterator = iter(loader)
        kinds = type(iterator), type(next(iterator)), len(loader), len(iterator)
        left = len(list(iterator))
        with pytest.raises(StopIteration) as ended:
            next(iterator)
        return (
            losses,
            kinds,
            left,
            len(ended.traceback),
            torch.rand(3).tolist(),
            numpy.random.rand(3).tolist(),
            random.random(),
        )

    for workers in (0, 2):
        bare = program(workers)
        with recorded(tmp_path / str(workers)):
            assert program(workers) == bare


def test_no_data_records_nothing_of_batches(tmp_path):
    script(
        tmp_path,
        """
        import torch
        from torch.utils.data import DataLoader, TensorDataset
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x, y in DataLoader(TensorDataset(torch.randn(32, 4), torch.randint(0, 2, (32,))), 8):
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    """,
    )
    assert record(tmp_path, "--no-data", "-o", "without", "train.py").returncode == 0
    assert record(tmp_path, "-o", "with", "train.py").returncode == 0
    assert run_of(tmp_path / "without").meta.loaders == []
    assert len(run_of(tmp_path / "with").meta.loaders) == 1


def fault(*_, **__):
    raise RuntimeError("fault of ours")


@pytest.mark.parametrize(
    ("owner", "name"),
    [(batches, "facts_of"), (batches, "look"), (sources.Pass, "next_is_due"), (batches.Batches, "over"),
     (batches, "kept"), (batches.Batches, "wants"), (batches.Batches, "on_loss"), (batches, "_facts")],
)  # fmt: skip
def test_a_fault_costs_the_batches_alone(tmp_path, capsys, monkeypatch, owner, name):
    def program():
        losses = train(DataLoader(data(), 16, shuffle=False))
        words(lambda seq: (seq, seq))
        return losses

    bare = program()
    monkeypatch.setattr(owner, name, fault)
    with recorded(tmp_path / "run"):
        assert program() == bare
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "gradaudit: batches are no longer recorded (RuntimeError: fault of ours); all else is"
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 14
    assert run.meta.loaders == []


def test_nothing_of_the_scripts_is_kept(tmp_path):
    """No tensor of a batch outlives the look at it."""
    import gc
    import weakref

    with recorded(tmp_path / "run"):
        loader = DataLoader(data(), 16)
        held = []
        for x, y in loader:
            held.append(weakref.ref(x))
            functional.cross_entropy(classifier()(x), y).backward()
        del x, y
        gc.collect()
        assert all(each() is None for each in held)
        dataset = weakref.ref(loader.dataset)
        del loader
        gc.collect()
        assert dataset() is None


def test_memory_is_bounded(tmp_path):
    with recorded(tmp_path / "run"):
        train(DataLoader(data(20_000), 16, shuffle=True), epochs=1)
        (source,) = session.current().gathered.batches.sources
        assert source.batches == 1250
        assert source.hashed <= sources.MOST_HASHED + 256
        assert source.looked < 60
        assert len(source.labels.batches) < 60


def test_keys_that_are_no_names_are_told_by_their_place():
    batch = {"input_ids": torch.ones(2), "alice@example.org": (torch.ones(3), [torch.ones(4)]), 5: "text"}
    assert {place: len(each) for place, each in tensors_of(batch).items()} == {"input_ids": 2, "1.0": 3, "1.1.0": 4}
    assert list(tensors_of(torch.ones(2))) == ["0"]
