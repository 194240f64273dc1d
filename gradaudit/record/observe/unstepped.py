"""Backward passes that no step follows: the script is told that nothing is recorded."""

UNSTEPPED = 1000  # backward passes before the first step, after which the script is told that none was seen


def unstepped(passes: int) -> str:
    """What is said of this many."""
    return (
        f"gradaudit: {passes:,} backward passes and no step: no optimizer has stepped, and no parameter that "
        "they reach was changed; nothing is recorded yet"
    )
