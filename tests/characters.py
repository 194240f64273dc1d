"""A small character-level transformer as courses train it, with what a command line would set."""

import random

import torch
from torch import nn
from torch.nn import functional

BLOCK, WIDTH, HEADS, LAYERS, BATCH = 16, 32, 4, 2, 8
WORDS = {
    "who": ["the cat", "a bird", "my sister", "the old man", "one of us", "the rain", "a ship", "nobody"],
    "does": ["sees", "follows", "remembers", "paints", "forgets", "carries", "finds", "leaves"],
    "what": ["the river", "a song", "the red door", "her name", "some bread", "the long way", "a letter", "the hill"],
    "when": ["at night", "in winter", "before noon", "again", "at last", "without a word", "every day", "too late"],
}


def prose(characters: int) -> str:
    """Sentences of one grammar, as many as fill `characters`."""
    chance = random.Random(0)
    text = ""
    while len(text) < characters:
        text += " ".join(chance.choice(words) for words in WORDS.values()) + ".\n"
    return text[:characters]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc, self.fc_projection = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (z.view(b, t, HEADS, -1).transpose(1, 2) for z in self.attention(self.ln_1(x)).split(c, dim=2))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.fc_projection(functional.gelu(self.fc(self.ln_2(x))))


class Model(nn.Module):
    def __init__(self, characters: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(characters, WIDTH), nn.Embedding(BLOCK, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


def train(
    *, lr: float = 3e-3, clip: float = 1.0, gamma: float = 1.0, steps: int = 120, characters: int = 20_000
) -> float:
    """Train on nine tenths of `characters` of text, evaluate on the rest; `gamma` is StepLR's. The last loss."""
    torch.manual_seed(0)
    text = prose(characters)
    letters = sorted(set(text))
    data = torch.tensor([letters.index(letter) for letter in text])
    training, validation = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]

    def batch(source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(source) - BLOCK - 1, (BATCH,)).tolist()
        x = torch.stack([source[start : start + BLOCK] for start in starts])
        return x, torch.stack([source[start + 1 : start + BLOCK + 1] for start in starts])

    model = Model(len(letters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(1, steps // 5), gamma=gamma)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = model(x)
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))

    def validate() -> float:
        model.eval()
        with torch.no_grad():
            val_loss = sum(loss_of(*batch(validation)).item() for _ in range(3)) / 3
        model.train()
        return val_loss

    last = 0.0
    for step in range(steps):
        if step % 20 == 0:
            validate()
        loss = loss_of(*batch(training))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        last = loss.item()
    validate()
    return last
