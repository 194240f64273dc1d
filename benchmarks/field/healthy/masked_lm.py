"""Masked language model: BERT of Hugging Face on a synthetic grammar, masks drawn anew in every batch."""

import argparse

import torch
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM

VOCAB, MASK, LENGTH = 32, 1, 18


def sentences(count, generator):
    """Every sentence has one of six topics of five words each."""
    topic = torch.randint(0, 6, (count, 1), generator=generator)
    rank = (torch.rand(count, LENGTH, generator=generator) ** 2 * 5).long()
    return 2 + 5 * topic + rank


def mask_tokens(batch, probability=0.15):
    ids = torch.stack(batch)
    labels = ids.clone()
    chosen = torch.rand(ids.shape) < probability
    labels[~chosen] = -100
    dice = torch.rand(ids.shape)
    ids[chosen & (dice < 0.8)] = MASK
    swap = chosen & (dice > 0.9)
    ids[swap] = torch.randint(2, VOCAB, (int(swap.sum()),))
    return {"input_ids": ids, "labels": labels}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(list(sentences(3000, g)), batch_size=50, shuffle=True, collate_fn=mask_tokens)
    held = DataLoader(list(sentences(500, g)), batch_size=100, collate_fn=mask_tokens)
    config = BertConfig(vocab_size=VOCAB, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=96, max_position_embeddings=LENGTH, hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0, pad_token_id=0)  # fmt: skip
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, total_iters=40)
    for epoch in range(args.epochs):
        model.train()
        for batch in train:
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            val = sum(model(**batch).loss.item() for batch in held) / len(held)
        print(f"epoch {epoch} train {loss.item():.3f} val {val:.3f}")
    print(f"result {val:.3f}")


if __name__ == "__main__":
    main()
