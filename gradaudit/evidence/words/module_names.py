"""What to call a module in a sentence: a name that is only a number says nothing without its class."""

from gradaudit.reading.run import Run


def named(run: Run, name: str) -> str:
    """The name of a module, with its class where the name is a number or empty: "3 (Tanh)", "Tanh", "squash"."""
    kind = next((module.module_class for module in run.meta.modules if module.name == name), "")
    if not kind:
        kind = next((tensor.module_class for tensor in run.meta.tensors if tensor.module == name), "")
    if not name:
        return kind
    return f"{name} ({kind})" if kind and name.isdigit() else name


def layer(run: Run, name: str) -> str:
    """The module as a sentence names it: "layer 3 (Softmax)", else its name alone."""
    return f"layer {named(run, name)}" if name.isdigit() else named(run, name)
