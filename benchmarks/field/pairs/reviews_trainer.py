"""A small BERT of Hugging Face, trained by its Trainer, says whether a review is good, bad, or neither."""

import argparse
import tempfile

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

GOOD, BAD, NOT, FILLER = range(10, 16), range(20, 26), 5, range(30, 80)


class Reviews(Dataset):
    """Words of praise and of blame among others; "not" turns the word after it around."""

    def __init__(self, count, rng):
        self.items = [self.review(rng) for _ in range(count)]

    def review(self, rng):
        words, mood = [2], 0
        for _ in range(int(rng.integers(2, 6))):
            opinion, turned = int(rng.integers(-1, 2)), rng.random() < 0.1
            if opinion and turned:
                words.append(NOT)
            words.append(int(rng.choice({1: GOOD, -1: BAD, 0: FILLER}[opinion])))
            mood += -opinion if turned else opinion
        length = len(words)
        words = words[:20] + [0] * (20 - length)
        return {
            "input_ids": torch.tensor(words),
            "attention_mask": (torch.arange(20) < length).long(),
            "labels": torch.tensor(int(np.sign(mood)) + 1),
        }

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    train, held = Reviews(3200, rng), Reviews(400, rng)
    config = BertConfig(
        vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=20, num_labels=3,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, learning_rate=args.learning_rate, num_train_epochs=5, per_device_train_batch_size=32,
            per_device_eval_batch_size=100, eval_strategy="epoch", logging_steps=25, save_strategy="no",
            report_to="none", seed=args.seed, disable_tqdm=True, use_cpu=True, warmup_steps=20,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=held, compute_metrics=accuracy)
        trainer.train()
        found = trainer.evaluate()["eval_accuracy"]
    print(f"result {found:.4f}")


if __name__ == "__main__":
    main()
