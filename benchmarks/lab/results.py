"""Dated blocks of figures in benchmarks/RESULTS.md: one of today is replaced, an older one is never touched."""

from benchmarks.lab.record import ROOT

RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def replaced(kept: str, block: str) -> str:
    """`kept` with `block` in place of the one under the same heading, or at the end."""
    heading = block.partition("\n")[0] + "\n"
    if heading not in kept:
        return kept.rstrip() + "\n\n" + block
    before, _, after = kept.partition(heading)
    following = [position for mark in ("\n## ", "\n### ") if (position := after.find(mark)) >= 0]
    return before + block + (after[min(following) :] if following else "")


def keep(block: str) -> None:
    """Write `block`, which opens with its heading, into RESULTS.md."""
    RESULTS.write_text(replaced(RESULTS.read_text(encoding="utf-8"), block), encoding="utf-8")
