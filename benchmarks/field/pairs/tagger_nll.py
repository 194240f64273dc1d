"""Tag every word of a made-up language with a bidirectional LSTM and a negative log likelihood."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

WORDS, TAGS, IGNORE = 300, 12, -100


def corpus(count, generator):
    """The tag of a word depends on the word and on the one before it."""
    table = torch.randint(0, TAGS, (WORDS, 4), generator=torch.Generator().manual_seed(99))
    out = []
    for _ in range(count):
        n = int(torch.randint(4, 15, (1,), generator=generator))
        words = (torch.rand(n, generator=generator) ** 2 * WORDS).long()
        before = torch.cat([torch.zeros(1, dtype=torch.long), words[:-1]])
        out.append((words, table[words, before % 4]))
    return out


def collate(pairs):
    lengths = torch.tensor([len(w) for w, _ in pairs])
    words = pad_sequence([w for w, _ in pairs], batch_first=True)
    tags = pad_sequence([t for _, t in pairs], batch_first=True, padding_value=IGNORE)
    return words, tags, lengths


class BiLSTMTagger(nn.Module):
    def __init__(self, embedding_dim=48, hidden_dim=48):
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, bidirectional=True, batch_first=True)
        self.hidden2tag = nn.Linear(2 * hidden_dim, TAGS)

    def forward(self, sentence, lengths):
        embeds = self.word_embeddings(sentence)
        packed = pack_padded_sequence(embeds, lengths, batch_first=True, enforce_sorted=False)
        lstm_out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        tag_space = self.hidden2tag(lstm_out)
        tag_scores = F.log_softmax(tag_space, dim=2)
        return tag_scores


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(args.seed)
    train = DataLoader(corpus(2000, g), batch_size=32, shuffle=True, collate_fn=collate)
    dev = DataLoader(corpus(300, g), batch_size=100, collate_fn=collate)
    model = BiLSTMTagger()
    loss_function = nn.NLLLoss(ignore_index=IGNORE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for epoch in range(args.epochs):
        model.train()
        for words, tags, lengths in train:
            model.zero_grad()
            tag_scores = model(words, lengths)
            loss = loss_function(tag_scores.view(-1, TAGS), tags.view(-1))
            loss.backward()
            optimizer.step()
        model.eval()
        right = total = 0
        with torch.no_grad():
            for words, tags, lengths in dev:
                known = tags != IGNORE
                right += (model(words, lengths).argmax(2) == tags)[known].sum().item()
                total += known.sum().item()
        print(f"epoch {epoch}: loss {loss.item():.3f}, dev accuracy {right / total:.3f}")
    print(f"result {right / total:.3f}")


if __name__ == "__main__":
    main()
