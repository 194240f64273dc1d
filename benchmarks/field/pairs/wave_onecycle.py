"""Heartbeat shapes by a 1-d CNN in Lightning, with OneCycleLR."""

import argparse
import logging
import warnings

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def beats(count, generator, length=64):
    """Four classes: position of a small bump against the large one, in noise, at random offsets."""
    labels = torch.randint(0, 4, (count,), generator=generator)
    t = torch.arange(length)
    at = 16 + 24 * torch.rand(count, 1, generator=generator)
    gap = torch.tensor([6.0, 9.0, 12.0, 15.0])[labels][:, None]
    wave = 1.5 * torch.exp(-((t - at) ** 2) / 8) + 0.7 * torch.exp(-((t - at - gap) ** 2) / 8)
    return (wave + 0.4 * torch.randn(count, length, generator=generator))[:, None], labels


class BeatNet(L.LightningModule):
    def __init__(self, max_lr, steps_per_epoch, epochs):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(32, 32, 5, padding=2), nn.ReLU(), nn.AdaptiveMaxPool1d(1),
            nn.Flatten(), nn.Linear(32, 4),
        )  # fmt: skip
        self.accuracy = 0.0

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def on_validation_epoch_start(self):
        self.right = self.seen = 0

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        self.log("val_loss", nn.functional.cross_entropy(logits, y))
        self.right += (logits.argmax(1) == y).sum().item()
        self.seen += len(y)

    def on_validation_epoch_end(self):
        self.accuracy = self.right / self.seen
        print(f"epoch {self.current_epoch} val accuracy {self.accuracy:.3f}")

    def configure_optimizers(self):
        h = self.hparams
        optimizer = torch.optim.SGD(self.parameters(), lr=h.max_lr, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=h.max_lr, epochs=h.epochs, steps_per_epoch=h.steps_per_epoch
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--max_lr", type=float, default=0.1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    L.seed_everything(args.seed, verbose=False)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(TensorDataset(*beats(1920, g)), batch_size=64, shuffle=True)
    val = DataLoader(TensorDataset(*beats(600, g)), batch_size=200)
    model = BeatNet(args.max_lr, len(train), args.epochs)
    trainer = L.Trainer(max_epochs=args.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
                        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0)  # fmt: skip
    trainer.fit(model, train, val)
    print(f"result {model.accuracy:.3f}")
