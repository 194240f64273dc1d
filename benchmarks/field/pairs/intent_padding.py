"""Intent of short utterances of different lengths: Transformer encoder, padded batches, a class token."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader

VOCAB, PAD, CLS, INTENTS, MAX_LENGTH = 151, 0, 150, 6, 24


def utterances(count, generator):
    """Two key words of the same intent among filler."""
    out = []
    for _ in range(count):
        n = int(torch.randint(4, 20, (1,), generator=generator))
        words = torch.randint(61, 150, (n,), generator=generator)
        intent = int(torch.randint(0, INTENTS, (1,), generator=generator))
        places = torch.randperm(n, generator=generator)[:3]
        words[places[:2]] = 1 + intent * 10 + torch.randint(0, 10, (2,), generator=generator)
        words[places[2]] = 1 + int(torch.randint(0, 60, (1,), generator=generator))
        out.append((words, intent))
    return out


def collate(batch):
    words = torch.full((len(batch), MAX_LENGTH), PAD)
    for row, (w, _) in zip(words, batch, strict=True):
        row[: len(w) + 1] = torch.cat([torch.tensor([CLS]), w])
    return {"input_ids": words, "attention_mask": (words != PAD).long()}, torch.tensor([y for _, y in batch])


class IntentClassifier(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed, self.position = nn.Embedding(VOCAB, width), nn.Embedding(32, width)
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, INTENTS)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids) + self.position(torch.arange(input_ids.size(1)))
        x = self.encoder(x, src_key_padding_mask=attention_mask == 0)
        return self.head(x[:, 0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(utterances(2000, g), batch_size=32, shuffle=True, collate_fn=collate)
    val = DataLoader(utterances(500, g), batch_size=100, collate_fn=collate)
    model = IntentClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for inputs, intent in train:
            loss = nn.functional.cross_entropy(model(**inputs), intent)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        right, val_loss = 0, 0.0
        with torch.no_grad():
            for inputs, intent in val:
                logits = model(**inputs)
                val_loss += nn.functional.cross_entropy(logits, intent).item() / len(val)
                right += (logits.argmax(1) == intent).sum().item()
        print(f"epoch {epoch}: train {total / len(train):.3f} val {val_loss:.3f} accuracy {right / 500:.3f}")
    print(f"val_loss {val_loss:.3f}")
    print(f"result {right / 500:.3f}")


if __name__ == "__main__":
    main()
