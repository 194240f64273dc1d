"""Whether the model of a training was trained before its first step, so that its first loss is not that of a start."""

from gradaudit.training import Training, signal


def begins_new(training: Training) -> bool:
    """Whether this is the first training of a run that was not resumed: others may start from trained weights."""
    return training.run.meta.attempt == 0 and training is training.run.trainings[0]


@signal
def trained_before(training: Training) -> bool:
    """Whether weights behind its loss were trained by an optimizer that was done before this one began.

    A tensor is recorded with the first optimizer that steps on it. Two optimizers train one model where the terms of
    the later one's loss reach a tensor of the earlier one. Where it is not known what they reach, the names tell: the
    model of the next fold has all names once more, and parts that are added to a trained model have new ones.
    """
    done = {other.id for other in training.run.trainings if _last(other) < _first(training)}
    if not done:
        return False
    tensors = training.run.meta.tensors
    terms = [term for term in training.run.meta.graph.terms if term.first >= _first(training)]
    reached = {tensor for term in terms if training.id in term.optimizers for tensor in term.tensors}
    if reached:
        return any(tensor.id in reached and tensor.recorded_with in done for tensor in tensors)
    before = {tensor.name for tensor in tensors if tensor.recorded_with in done}
    own = {tensor.name for tensor in training.tensors}
    one_root = any(not module.name for module in training.run.meta.modules)
    shared = not own or one_root or bool(_models(own) & _models(before))
    return shared and bool(before) and not own & before


def _first(training: Training) -> int:
    return int(training.steps["global_step"].iloc[0])


def _last(training: Training) -> int:
    return int(training.steps["global_step"].iloc[-1])


def _models(names: set[str]) -> set[str]:
    """What names of parameters begin with where several models were recorded."""
    return {name.partition(".")[0] for name in names}
