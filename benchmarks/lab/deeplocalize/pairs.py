"""The pairs: which post, what is wrong there, and which finding names it.

The scripts are the repaired programs, rebuilt from what the benchmark of DeepLocalize (Wardat, Le and Rajan, ICSE 2021,
github.com/Wardat-ISU/DeepLocalize, 297bc34) says of its posts on Stack Overflow; `edits` make the faulty ones. Where
the repair of a post changes several things, the edits undo all of them.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab.configuration import Edits, edited

SCRIPTS = Path(__file__).parent / "scripts"
_SOFTMAX = "nn.Softmax(dim=1)"


@dataclass(frozen=True)
class Pair:
    """One post. `root` names the diagnosers of which one must stand first in the report of the faulty program."""

    post: int
    wrong: str
    edits: Edits
    root: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its script and of its folders."""
        return f"so{self.post}"

    def text(self, *, faulty: bool) -> str:
        """The program as it is run."""
        text = (SCRIPTS / f"{self.name}.py").read_text(encoding="utf-8")
        return edited(text, self.edits) if faulty else text


PAIRS = (
    Pair(
        post=31556268,
        wrong="absolute error on labels of 0 and 1 under a small rate, for too few steps",
        edits=(
            ("criterion = F.mse_loss", "criterion = F.l1_loss"),
            ("Adam(model.parameters())", "SGD(model.parameters(), lr=0.05, momentum=0.11, nesterov=True)"),
            ("EPOCHS = 10000", "EPOCHS = 1000"),
        ),
        root=("learning_rate_too_low",),
    ),
    Pair(
        post=31880720,
        wrong="softmax over a single output",
        edits=(("    nn.Sigmoid(),\n", f"    {_SOFTMAX},\n"),),
        root=("unreachable_target",),
    ),
    Pair(
        post=33969059,
        wrong="softmax over a single output, of a regression",
        edits=(("    nn.Linear(2, 1),\n", f"    nn.Linear(2, 1),\n    {_SOFTMAX},\n"),),
        root=("unreachable_target",),
    ),
    Pair(
        post=34311586,
        wrong="softmax over a single output; 40 steps at a small rate",
        edits=(
            ("nn.Linear(3, 1), nn.Sigmoid()", f"nn.Linear(3, 1), {_SOFTMAX}"),
            ("EPOCHS, BATCH, LEARNING_RATE = 6000, 4, 0.1", "EPOCHS, BATCH, LEARNING_RATE = 20, 4, 0.001"),
        ),
        root=("unreachable_target",),
    ),
    Pair(
        post=38648195,
        wrong="softmax and squared error for labels of which several are right at once",
        edits=(
            ("    nn.Sigmoid(),\n", f"    {_SOFTMAX},\n"),
            ("criterion = F.binary_cross_entropy", "criterion = F.mse_loss"),
        ),
        root=("unreachable_target",),
    ),
    Pair(
        post=39217567,
        wrong="sigmoids in every layer, squared error and a small rate: the first layers get no gradient",
        edits=(
            ("nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()",
             "nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid()"),
            ("criterion = F.binary_cross_entropy", "criterion = F.mse_loss"),
            ("EPOCHS, BATCH, LEARNING_RATE = 300, 8, 0.1", "EPOCHS, BATCH, LEARNING_RATE = 1000, 50, 0.01"),
        ),
        root=("vanishing_gradient", "learning_rate_too_low"),
    ),
    Pair(
        post=45337371,
        wrong="softmax over a single output",
        edits=(("nn.Linear(50, 1), nn.Sigmoid()", f"nn.Linear(50, 1), {_SOFTMAX}"),),
        root=("unreachable_target",),
    ),
    Pair(
        post=48221692,
        wrong="sigmoid at the end of a regression whose targets lie far above 1",
        edits=(("nn.Linear(5, 1))", "nn.Linear(5, 1), nn.Sigmoid())"),),
        root=("unreachable_target",),
    ),
    Pair(
        post=48934338,
        wrong="a learning rate a hundred times too high for unscaled targets",
        edits=(("LEARNING_RATE = 1000, 32, 0.001", "LEARNING_RATE = 1000, 32, 0.1"),),
        root=("learning_rate_too_high",),
    ),
    Pair(
        post=50306988,
        wrong="65 steps at a rate that needs thousands",
        edits=(
            ("EPOCHS, BATCH = 300, 32", "EPOCHS, BATCH = 5, 32"),
            ("y = torch.cat([torch.zeros(200, 1), torch.ones(200, 1)])", "y = (torch.arange(400) >= 200).long()"),
            ("nn.Linear(2, 1), nn.Sigmoid()", "nn.Linear(2, 2)"),
            ("criterion = F.binary_cross_entropy", "criterion = F.cross_entropy"),
            ("criterion(y.mean().expand_as(y), y)", "torch.tensor(2.0).log()"),
        ),
        root=("learning_rate_too_low",),
    ),
    Pair(
        post=51930566,
        wrong="sigmoid before the cross entropy, and inputs that are not scaled",
        edits=(
            ("x = (measures - measures.mean(0)) / measures.std(0)", "x = measures"),
            ("nn.Linear(4, 3))", "nn.Linear(4, 3), nn.Sigmoid())"),
        ),
        root=("activation_before_loss",),
    ),
    Pair(
        post=52800582,
        wrong="inputs up to a hundred and targets up to a hundred million, neither scaled",
        edits=(
            ("x = (x - x.mean()) / x.std()\ny = (y - y.mean()) / y.std()\n", ""),
            ("nn.Linear(1, 50), nn.ReLU()", "nn.Linear(1, 50), nn.Sigmoid()"),
        ),
        root=("unscaled_input",),
    ),
    Pair(
        post=59278771,
        wrong="sigmoid before the cross entropy, and inputs that are not scaled",
        edits=(
            ("x = (x - x.amin(0)) / (x.amax(0) - x.amin(0))\n", ""),
            ("nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)", "nn.Linear(4, 3), nn.Sigmoid()"),
        ),
        root=("activation_before_loss",),
    ),
)  # fmt: skip
