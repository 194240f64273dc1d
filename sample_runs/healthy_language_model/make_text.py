"""Write text.txt: the log of a small harbour, made by a grammar. Run once; the text is kept beside this file."""

import random
from pathlib import Path

SENTENCES = 1500

DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
SHIPS = ["the ferry", "a trawler", "the pilot boat", "an old barge", "the mail ship", "a tug", "the lifeboat"]
CARGO = ["coal", "salt", "timber", "apples", "herring", "wool", "glass jars", "oxen", "zinc", "wax", "quartz"]
PLACES = ["the north quay", "the lock", "the outer mole", "the fish market", "the yard", "the beacon"]
PEOPLE = ["the keeper", "the harbour master", "a young clerk", "the carpenter", "the cook"]
WEATHER = ["fog", "light rain", "a stiff westerly", "clear sky", "heavy swell", "first frost"]
VERBS = [("arrived at", "with"), ("left", "for want of"), ("waited near", "to unload"), ("turned back to", "without")]
REPORTS = ["wrote down", "just forgot", "never expected", "explained", "asked about", "sold"]


def sentence(rng):
    """One line of the log."""
    kind = rng.random()
    if kind < 0.5:
        verb, link = rng.choice(VERBS)
        return f"on {rng.choice(DAYS)} {rng.choice(SHIPS)} {verb} {rng.choice(PLACES)} {link} {rng.choice(CARGO)}."
    if kind < 0.75:
        return f"{rng.choice(PEOPLE)} {rng.choice(REPORTS)} the {rng.choice(CARGO)} from {rng.choice(PLACES)}."
    if kind < 0.9:
        return f"{rng.choice(WEATHER)} over {rng.choice(PLACES)}, so {rng.choice(SHIPS)} stayed in."
    return f"is {rng.choice(SHIPS)} back? {rng.choice(PEOPLE)} says {rng.choice(DAYS)}."


if __name__ == "__main__":
    rng = random.Random(0)
    text = "\n".join(sentence(rng) for _ in range(SENTENCES)) + "\n"
    Path(__file__).with_name("text.txt").write_text(text, encoding="ascii")
