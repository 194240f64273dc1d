"""Fine-tune a tiny GPT-2 with the Hugging Face Trainer to list the letters of a prompt in order, then stop."""

import argparse
import tempfile

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

VOCAB, EOS, SEP, LONGEST = 24, 22, 21, 6
PAD = 23


class Sorting(Dataset):
    """Prompt of 2 to 6 letters, a separator, the letters sorted, the end token."""

    def __init__(self, count, seed):
        g = torch.Generator().manual_seed(seed)
        self.examples = []
        for _ in range(count):
            n = int(torch.randint(2, LONGEST + 1, (1,), generator=g))
            letters = torch.randperm(20, generator=g)[:n]
            self.examples.append([*letters.tolist(), SEP, *letters.sort().values.tolist(), EOS])

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        return {"input_ids": self.examples[i]}


def collate(features):
    longest = max(len(f["input_ids"]) for f in features)
    ids = torch.full((len(features), longest), PAD)
    mask = torch.zeros(len(features), longest, dtype=torch.long)
    for row, f in enumerate(features):
        n = len(f["input_ids"])
        ids[row, :n] = torch.tensor(f["input_ids"])
        mask[row, :n] = 1
    labels = ids.clone()
    labels[labels == PAD] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@torch.no_grad()
def stops(model, dataset):
    model.eval()
    stopped = 0
    for f in dataset.examples[:60]:
        prompt = torch.tensor([f[: f.index(SEP) + 1]])
        n = prompt.size(1) - 1
        out = model.generate(prompt, max_new_tokens=12, do_sample=False, eos_token_id=EOS, pad_token_id=EOS)
        answer = out[0, n + 1 :].tolist()
        stopped += EOS in answer and answer.index(EOS) == n
    return stopped / 60


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_seed(args.seed)
    config = GPT2Config(vocab_size=VOCAB, n_positions=24, n_embd=48, n_layer=2, n_head=4, bos_token_id=EOS,
                        eos_token_id=EOS, pad_token_id=PAD, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0)  # fmt: skip
    model = GPT2LMHeadModel(config)
    train, val = Sorting(4000, args.seed), Sorting(200, args.seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(output_dir=folder, max_steps=args.steps, per_device_train_batch_size=32,
                                     learning_rate=2e-3, warmup_steps=20, logging_steps=50,
                                     eval_strategy="steps", eval_steps=100, save_strategy="no", report_to=[],
                                     use_cpu=True, disable_tqdm=True, seed=args.seed)  # fmt: skip
        Trainer(model, settings, train_dataset=train, eval_dataset=val, data_collator=collate).train()
    print(f"result {stops(model, val):.3f}")


if __name__ == "__main__":
    main()
