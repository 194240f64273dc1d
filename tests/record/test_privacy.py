"""The folder of a run, read with the eyes of a thief: nothing of the data is in it, nor of the machine."""

import re

import pyarrow.parquet
import pytest

from tests.plain_segments import rows_in
from tests.record.training import record, run_of, script

# Texts as examples, labels, keys of a vocabulary and file names; numbers that could be read back as an example or an
# id; a folder on the way to the data.
SECRETS = ["alice-is-ill", "label-plague", "token-mercury", "/vault/of/patients", "hunter2"]
NUMBERS = ["8675309", "31337.25"]

TRAINING = """
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

VOCABULARY = {"token-mercury": 7, "hunter2": 9}
FILE = "/vault/of/patients"


class Records(Dataset):
    def __init__(self, first):
        self.first = first

    def __len__(self):
        return 64

    def __getitem__(self, i):
        torch.manual_seed(i + self.first)
        ids = torch.randint(0, 50, (12,))
        ids[3] = VOCABULARY["token-mercury"]
        number = torch.tensor(8675309 + i)
        return {"text": "alice-is-ill %d" % i, "label": "label-plague", "ids": ids, "number": number,
                "features": torch.randn(5), "file": FILE}


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rows = nn.Embedding(50, 16), nn.Linear(16, 50)

    def forward(self, ids):
        return self.rows(self.embedding(ids))


model = Reader()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
train, valid = DataLoader(Records(0), batch_size=16, shuffle=True), DataLoader(Records(1000), batch_size=16)


def loss_of(batch):
    logits = model(batch["ids"])
    words = functional.cross_entropy(logits[:, :-1].reshape(-1, 50), batch["ids"][:, 1:].reshape(-1))
    return words + functional.mse_loss(logits[:, 0, 0], batch["features"][:, 0])


for epoch in range(4):
    model.train()
    for batch in train:
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        sum(loss_of(batch).item() for batch in valid)
"""


def written(folder):
    """All that a run's folder says, its tables opened."""
    texts = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.suffix == ".parquet":
            texts[file.name] = str(pyarrow.parquet.read_table(file).to_pylist())
        elif file.suffix == ".rows":
            texts[file.name] = str(rows_in(file))
        else:
            texts[file.name] = file.read_text(encoding="utf-8")
    return texts


@pytest.mark.parametrize("options", [(), ("--no-data",), ("--activations",), ("--closely", "2:3")])
def test_nothing_of_the_data_is_written(tmp_path, options):
    script(tmp_path, TRAINING)
    recorded = record(tmp_path, "--no-host", "--every", "1", *options, "-o", "run", "train.py")
    assert recorded.returncode == 0, recorded.stderr
    meta = run_of(tmp_path / "run").meta
    assert len(meta.loaders) == (0 if "--no-data" in options else 2)
    texts = written(tmp_path / "run")
    assert {"run.json", "steps-000000.parquet"} <= texts.keys()
    for name, text in texts.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in {name}"
        for number in NUMBERS:
            assert not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", text), f"{number} is in {name}"


def test_without_data_nothing_is_told_of_targets_and_inputs(tmp_path):
    script(tmp_path, TRAINING)
    assert record(tmp_path, "--no-data", "--activations", "-o", "run", "train.py").returncode == 0
    run = run_of(tmp_path / "run")
    assert not run.meta.outputs.positions
    assert not run.meta.outputs.columns
    assert len(run.meta.losses) == 2
    for facts in run.meta.losses:
        assert not facts.label_counts
        told = (facts.label_entropy, facts.target_mean, facts.target_variance, facts.output_variance)
        assert told == (None, None, None, None)
        assert not facts.target_parts
    assert set(run.samples["kind"]) == {"loss_input"}


@pytest.mark.parametrize("options", [(), ("--closely", "2:3")])
def test_without_the_host_no_path_is_written(tmp_path, options):
    script(tmp_path, TRAINING)
    assert record(tmp_path, "--no-host", *options, "-o", "run", "train.py").returncode == 0
    for name, text in written(tmp_path / "run").items():
        assert str(tmp_path) not in text, name
        assert not re.search(r"(?<![\w.])/[a-z]+/", text), name


def test_what_a_training_ends_by_is_not_quoted(tmp_path):
    script(tmp_path, TRAINING + '\nraise ValueError("alice-is-ill of " + FILE)\n')
    assert record(tmp_path, "--no-host", "-o", "run", "train.py").returncode == 1
    for name, text in written(tmp_path / "run").items():
        assert not [secret for secret in SECRETS if secret in text], name
