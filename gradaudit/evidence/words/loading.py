"""How the keys of a checkpoint would fit a model, in words and in code."""

from gradaudit.schema import LoadFacts


def renamed(facts: LoadFacts, longest: int) -> str:
    """What has to be done to the keys; prefixes are cut to `longest` characters."""
    prefix, instead, inside = (_cut(text, longest) for text in (facts.prefix, facts.instead, facts.inside))
    parts = [f"inside of its entry '{inside}'"] if inside else []
    if prefix and instead:
        parts.append(f"with '{instead}' in place of '{prefix}'")
    elif prefix:
        parts.append(f"without their prefix '{prefix}'")
    elif instead:
        parts.append(f"with the prefix '{instead}'")
    return " and ".join(parts)


def renaming_code(facts: LoadFacts) -> str:
    """The lines that load them."""
    given = f"checkpoint[{facts.inside!r}]" if facts.inside else "checkpoint"
    key = f"key.removeprefix({facts.prefix!r})" if facts.prefix else "key"
    key = f"{facts.instead!r} + {key}" if facts.instead else key
    if key == "key":
        return f"model.load_state_dict({given})"
    return f"state = {{{key}: value for key, value in {given}.items()}}\nmodel.load_state_dict(state)"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
