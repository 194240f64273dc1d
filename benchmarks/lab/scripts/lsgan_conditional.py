"""One of two answers to a question: a conditional least-squares GAN, its generator's loss has an L1 term beside it."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

SEED = int(sys.argv[1])
STEPS = 500
BATCH = 64
LATENT = 2
WIDTH = 64
NEAR = 0.05
LEARNING_RATE = 1e-3
BETAS = (0.5, 0.999)

torch.manual_seed(SEED)
torch.set_num_threads(1)


def make_pairs(count):
    """A question between -1 and 1, and one of its two answers."""
    question = 2 * torch.rand(count, 1) - 1
    sign = torch.where(torch.rand(count, 1) < 0.5, 1.0, -1.0)
    return question, sign * (1 + 0.4 * question) + 0.05 * torch.randn(count, 1)


generator = nn.Sequential(
    nn.Linear(1 + LATENT, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, 1),
)
discriminator = nn.Sequential(
    nn.Linear(2, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, WIDTH),
    nn.LeakyReLU(0.2),
    nn.Linear(WIDTH, 1),
)
optimizer = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=BETAS)
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=LEARNING_RATE, betas=BETAS)
ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)


def answers(question):
    return generator(torch.cat([question, torch.randn(len(question), LATENT)], dim=1))


@torch.no_grad()
def distance():
    """Mean distance of generated answers from the nearer of the two right ones."""
    question, _ = make_pairs(1000)
    return (answers(question).abs() - (1 + 0.4 * question)).abs().mean().item()


print("constant 1.0000")  # the distance of an answer half-way between the two
for step in range(STEPS):
    generator.train()
    question, real = make_pairs(BATCH)
    fake = answers(question)
    real_score = discriminator(torch.cat([question, real], dim=1))
    fake_score = discriminator(torch.cat([question, fake.detach()], dim=1))
    loss_d = (F.mse_loss(real_score, ones) + F.mse_loss(fake_score, zeros)) / 2
    optimizer_d.zero_grad()
    loss_d.backward()
    optimizer_d.step()

    score = discriminator(torch.cat([question, fake], dim=1))
    loss = F.mse_loss(score, ones) + NEAR * F.l1_loss(fake, real)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step} train {loss.item():.4f} validation {distance():.4f}")
print(f"final validation {distance():.4f}")
