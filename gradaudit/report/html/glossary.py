"""The words that a newcomer may not know, as the page explains them."""

from gradaudit.report.model import Fact

ENTRIES = (
    Fact("Gradient RMS per element", "The gradient's L2 norm divided by the square root of the number of elements: the "
         "typical size of one element, so that large and small tensors can be compared."),
    Fact("Update / weight", "The L2 norm of the change that one optimizer step makes to a tensor, divided by the L2 "
         "norm of the tensor. About 1e-3 per step is usual for weight matrices under Adam; far less hardly learns, far "
         "more overwrites what was learned."),
    Fact("ln N", "The natural logarithm of the number of classes: the cross-entropy, in nats, of a model that gives "
         "every class the same probability. A freshly initialised classifier starts near it."),
    Fact("Global gradient norm", "The L2 norm over the gradients of all parameters together, before clipping."),
    Fact("Step", "One call of an optimizer's step(). With gradient accumulation it covers several backward passes."),
    Fact("Band", "The least and the greatest value within each slice of steps. The line in it is smoothed over as many "
         "steps before as after, so that it does not lag behind."),
    Fact("Centred smoothing", "A running median that removes single spikes, then a running mean of up to 41 steps."),
    Fact("Decade", "A factor of ten. Two tensors a decade apart differ ten-fold."),
    Fact("Explained by", "Another finding begins no later and is known to cause this one. Fix that one first."),
    Fact("Confidence", "Certain: read from exact values. High and medium: judged from statistics. Low: worth a look."),
    Fact("Not applicable, skipped", "Not applicable: the run has no such thing. Skipped: it may "
         "have, but it was not recorded or the run was too short. Neither counts as passed."),
)  # fmt: skip

# Of a page with findings, which say how often they were seen there.
LABORATORY = Fact(
    "Laboratory",
    "Small trainings, some healthy and some with one fault put in, each with up to three seeds, recorded and analyzed "
    "like this run. How often a check speaks up in healthy ones says how much its finding means. Counted are the "
    "healthy runs that the check could judge, and all runs with the fault of its name.",
)
