"""A recurrent language model whose parameters are updated by hand, evaluated after each epoch and at the end."""

import torch
from torch import nn

torch.manual_seed(1)
EXPECTED = {"steps": 0, "losses": [], "evaluations": {"validation": [], "test": []}, "rate": 0.5}
ntokens = 11
corpus = torch.randint(0, ntokens, (3, 240))
train_data, val_data, test_data = (part.view(-1, 6) for part in corpus)
criterion = nn.NLLLoss()


class RNNModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(ntokens, 8)
        self.rnn = nn.LSTM(8, 8)
        self.decoder = nn.Linear(8, ntokens)

    def forward(self, input, hidden):
        output, hidden = self.rnn(self.encoder(input), hidden)
        return torch.log_softmax(self.decoder(output).view(-1, ntokens), dim=1), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return (weight.new_zeros(1, bsz, 8), weight.new_zeros(1, bsz, 8))


model = RNNModel()


def get_batch(source, i):
    return source[i : i + 5], source[i + 1 : i + 6].reshape(-1)


def repackage_hidden(h):
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)


def evaluate(data_source):
    model.eval()
    total_loss, count = 0.0, 0
    hidden = model.init_hidden(6)
    with torch.no_grad():
        for i in range(0, data_source.size(0) - 6, 5):
            data, targets = get_batch(data_source, i)
            output, hidden = model(data, hidden)
            hidden = repackage_hidden(hidden)
            total_loss += len(data) * criterion(output, targets).item()
            count += len(data)
    return total_loss / count


def train(lr):
    model.train()
    hidden = model.init_hidden(6)
    for i in range(0, train_data.size(0) - 6, 5):
        data, targets = get_batch(train_data, i)
        model.zero_grad()
        hidden = repackage_hidden(hidden)
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-lr)
        EXPECTED["steps"] += 1
        EXPECTED["losses"].append(loss.item())


for _epoch in range(3):
    train(0.5)
    val_loss = evaluate(val_data)
    EXPECTED["evaluations"]["validation"].append(val_loss)
test_loss = evaluate(test_data)
EXPECTED["evaluations"]["test"].append(test_loss)
