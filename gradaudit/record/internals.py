"""The private attributes of torch and of frameworks that the recorder reads, and what is lost without each.

All of them. A release of somebody else's may drop or rename any. They are read through `private` and nowhere else,
and the absence of one costs what its line says, never the recording.
"""

from typing import Any, NamedTuple

import torch


class Internal(NamedTuple):
    """One attribute, the files of `record/` that read it, and the versions that were seen to have it."""

    name: str
    of: str  # what has it
    where: tuple[str, ...]
    without: str  # what is lost where it is missing
    since: str = "2.4"  # of torch, or empty for a framework


TORCH = (
    Internal(
        "_scale", "torch.amp.GradScaler", ("observe/between.py",),
        "the scale of a loss, `amp_scale`; objectives keep it",
    ),
    Internal(
        "_sequence_nr", "autograd nodes", ("observe/graph/walk.py", "observe/loss/calls.py", "observe/operations.py"),
        "which of several losses a backward was called on: all; and whether a graph reaches back into earlier steps",
    ),
    Internal(
        "_input_metadata", "autograd nodes",
        ("observe/graph/axes.py", "observe/graph/nodes.py", "observe/loss/hand_written.py",
         "observe/loss/last_operation.py"),
        "the shapes of operations, and with them softmaxes and views in the graph; the classes of cross entropies that "
        "a script writes out itself: only their objective is known; and how many outputs a softmax before a loss is "
        "over", since="2.5",
    ),
    Internal(
        "_saved_dim", "autograd nodes of softmax, log_softmax, logsumexp, gather and slices",
        ("observe/graph/axes.py", "observe/graph/nodes.py", "observe/loss/hand_written.py",
         "observe/loss/last_operation.py", "observe/outputs/layout.py"),
        "as _input_metadata",
    ),
    Internal(
        "_saved_self_sym_sizes", "autograd nodes of views", ("observe/graph/nodes.py", "observe/outputs/layout.py"),
        "views that mix up axes; the loss at the positions of a sequence, where outputs and targets are flattened",
    ),
    Internal(
        "_saved_end", "autograd nodes of slices", ("observe/outputs/layout.py",), "that a script drops the last output"
    ),
    Internal("_base", "views", ("observe/outputs/layout.py",), "as _saved_self_sym_sizes, in evaluations"),
    Internal(
        "_saved_alpha", "autograd nodes of sums and differences",
        ("observe/graph/terms.py", "observe/loss/hand_written.py"),
        "as _input_metadata, where they are written as a difference of logits; and constant factors of 1",
    ),
    Internal(
        "_raw_saved_other", "autograd nodes of products and quotients", ("observe/graph/terms.py",),
        "the constant factors of the terms of an objective",
    ),
    Internal(
        "_raw_saved_self", "autograd nodes of products", ("observe/graph/embeddings.py", "observe/graph/terms.py"),
        "as _raw_saved_other",
    ),
    Internal(
        "_raw_saved_mat1", "autograd nodes of linear layers", ("observe/graph/embeddings.py",),
        "how much embeddings that are compared differ over a batch",
    ),
    Internal("_saved_dim0", "autograd nodes of transpose", ("observe/graph/axes.py",), "as _saved_dims"),
    Internal("_saved_dim1", "autograd nodes of transpose", ("observe/graph/axes.py",), "as _saved_dims"),
    Internal(
        "_saved_dims", "autograd nodes of permute", ("observe/graph/axes.py",),
        "the axis that attention sums over, where its weights are transposed first",
    ),
    Internal(
        "_are_functorch_transforms_active", "torch._C", ("internals.py",),
        "losses and activations under vmap and functorch's grad are no longer passed over",
    ),
    Internal(
        "_current_graph_task_id", "torch._C", ("observe/threads.py",),
        "objectives under reentrant checkpointing, whose inner roots are added to them",
    ),
    Internal(
        "_len_torch_dispatch_stack", "torch._C", ("modes.py", "observe/operations.py"),
        "nothing recorded; a TorchDispatchMode of the script sees the operations of the recorder",
    ),
    Internal(
        "_len_torch_function_stack", "torch._C", ("steady/hot.py",),
        "nothing recorded; a TorchFunctionMode of the script sees the reading of a loss",
    ),
    Internal(
        "_get_dispatch_stack_at", "torch._C", ("observe/operations.py",),
        "with --closely: whether the trace is still open; it is opened once",
    ),
    Internal("_pop_mode", "torch.utils._python_dispatch", ("observe/operations.py",), "with --closely: operations"),
    Internal("_push_mode", "torch.utils._python_dispatch", ("observe/operations.py",), "as _pop_mode"),
    Internal(
        "_current_autograd_node", "torch._C", ("observe/operations.py",),
        "with --closely: which operations belong to the backward pass",
    ),
    Internal("_autograd", "torch._C", ("observe/operations.py",), "as _get_sequence_nr"),
    Internal(
        "_get_sequence_nr", "torch._C._autograd", ("observe/operations.py",),
        "with --closely: the forward operation that a backward operation belongs to",
    ),
    Internal(
        "_pop_mode_temporarily", "torch.utils._python_dispatch", ("modes.py",), "as _len_torch_dispatch_stack"
    ),
    Internal(
        "_IterableDataset_len_called", "torch.utils.data.DataLoader", ("observe/loaders.py",),
        "nothing, but that torch may warn of the length of an iterable data set at its next batch",
    ),
    Internal(
        "_BaseDataLoaderIter", "torch.utils.data.dataloader", ("patches/dataloader.py",),
        "what the batches of a DataLoader hold",
    ),
    Internal(
        "_saved_start", "autograd nodes of slices", ("observe/batches/alignment.py",),
        "at which position of a sequence the predictions of a loss begin: where a slice is before it, the alignment of "
        "targets and inputs",
    ),
    Internal(
        "_saved_index", "autograd nodes of select", ("observe/batches/last_step.py",),
        "that predictions are made from the last step of a recurrent layer",
    ),
    Internal(
        "_saved_is_causal", "autograd nodes of scaled_dot_product_attention", ("observe/batches/alignment.py",),
        "that a model with such an attention cannot see later positions",
    ),
    Internal(
        "_schedulers", "torch.optim.lr_scheduler.SequentialLR and ChainedScheduler",
        ("observe/schedules/schedulers.py",), "which schedulers are parts of another one before it is stepped",
    ),
    Internal(
        "_milestones", "torch.optim.lr_scheduler.SequentialLR", ("observe/schedules/schedulers.py",),
        "the length of a schedule that is made of several",
    ),
    Internal(
        "_foreach_copy_", "torch", ("measure/sampler.py",),
        "nothing; each sampled tensor is copied in a call of its own",
    ),
    Internal(
        "_indices", "sparse tensors", ("measure/on_device.py",),
        "nothing, but a wait for the device at sparse gradients",
    ),
    Internal("_values", "sparse tensors", ("measure/on_device.py",), "as _indices"),
    Internal(
        "_version", "tensors", ("internals.py",),
        "steps that a script makes by hand on a device, unless it writes to `.data`; writes to copies of a model",
    ),
    Internal(
        "_saved_mat2", "autograd nodes", ("by_hand/graph.py",),
        "that what a script changes by hand is the input of a frozen model, which is recorded as a training then",
    ),
    Internal("_saved_weight", "autograd nodes", ("by_hand/graph.py",), "as _saved_mat2"),
    Internal("_saved_other", "autograd nodes", ("by_hand/graph.py",), "as _saved_mat2"),
    Internal("_saved_self", "autograd nodes", ("by_hand/graph.py",), "as _saved_mat2"),
    Internal(
        "_functorch", "torch._C", ("patches/functional.py",), "losses inside a function made by torch.func.grad"
    ),
    Internal(
        "_pytree", "torch.utils", ("patches/functional.py",), "steps made by hand with the gradients of torch.func.grad"
    ),
    Internal(
        "_register_builtin", "torch.jit._builtins", ("patches/attention.py",),
        "attention with dropout in evaluations, which is no longer patched",
    ),
    Internal(
        "_modules", "torch.nn.Module", ("observe/naming.py", "observe/walking.py"),
        "further names of a module that has several",
    ),
    Internal(
        "_parameters", "torch.nn.Module", ("observe/naming.py", "observe/walking.py"),
        "further names of a tied tensor in one module",
    ),
    Internal(
        "_compiled_call_impl", "torch.nn.Module", ("observe/activations.py",),
        "with --activations: hooks are put on a model that module.compile() compiled before",
    ),
    Internal(
        "FRAME_COUNTER", "torch._dynamo.convert_frame", ("observe/activations.py",),
        "with --activations: hooks are put on a model that was compiled before the recorder was there",
    ),
    Internal(
        "call_user_compiler", "torch._dynamo.output_graph.OutputGraph", ("frameworks/compiler.py",),
        "losses and evaluations inside compiled models",
    ),
    Internal(
        "example_value", "the notes of torch.compile on a node of its graph", ("observe/loss/graph_values.py",),
        "losses inside compiled models, where neither the logits nor the targets are inputs or outputs of the model",
    ),
    Internal(
        "set_code_exec_strategy", "torch._C._dynamo.eval_frame", ("compiler.py",),
        "nothing, but a graph break more where compiled code calls backward", since="2.8",
    ),
    Internal(
        "_FrameAction", "torch._C._dynamo.eval_frame", ("compiler.py",), "as its neighbour", since="2.8"
    ),
    Internal(
        "_FrameExecStrategy", "torch._C._dynamo.eval_frame", ("compiler.py",), "as set_code_exec_strategy",
        since="2.8",
    ),
    Internal(
        "_orig_mod", "torch._dynamo.OptimizedModule", ("observe/naming.py",),
        "names without the prefix of the wrapper: `_orig_mod.` stays",
    ),
    Internal("_fsdp_wrapped_module", "FullyShardedDataParallel", ("observe/naming.py",), "as _orig_mod, with FSDP 1"),
    Internal("_checkpoint_wrapped_module", "CheckpointWrapper", ("observe/naming.py",), "as _orig_mod"),
    Internal(
        "_frames_up", "torch.jit.script", ("patches/modules.py",),
        "with --activations: torch.jit.script finds no local names of a function that calls it",
    ),
    Internal(
        "__original_fn", "functions for torch.jit.script, set by us", ("patches/__init__.py",),
        "nothing recorded; torch.jit.script refuses a module that calls a loss function",
    ),
    Internal(
        "__script_if_tracing_wrapper", "functions for torch.jit.script, set by us", ("patches/__init__.py",),
        "as __original_fn",
    ),
    Internal(
        "_handle", "FullyShardedDataParallel", ("measure/sharding.py",),
        "whole shapes of parameters that FSDP 1 cut up",
    ),
    Internal("_params", "the flat parameter of FSDP 1", ("measure/sharding.py",), "as _handle"),
    Internal("_shapes", "the flat parameter of FSDP 1", ("measure/sharding.py",), "as _handle"),
)  # fmt: skip

FRAMEWORKS = (
    Internal("_do_epoch_validate", "fastai.learner.Learner", ("frameworks/fastai.py",), "split names", since=""),
    Internal("_compute_loss", "keras Trainer", ("frameworks/keras.py",), "losses of Keras' own", since=""),
    Internal("_flatten_layers", "keras Layer", ("frameworks/keras.py",), "the names that Keras gives", since=""),
    Internal(
        "_trainable_variables", "keras BaseOptimizer and Layer", ("frameworks/keras.py",),
        "nothing; the public trainable_variables is read", since="",
    ),
    Internal(
        "_accumulated_gradients", "keras BaseOptimizer", ("frameworks/keras.py",),
        "with gradient_accumulation_steps: gradients of the earlier micro-steps", since="",
    ),
    Internal(
        "_get_variable_index", "keras BaseOptimizer", ("frameworks/keras.py",), "as _accumulated_gradients", since=""
    ),
)  # fmt: skip

INTERNALS = (*TORCH, *FRAMEWORKS)

hidden: set[str] = set()  # what tests take away


def private(owner: Any, name: str, default: Any = None) -> Any:
    """The attribute or entry `name` of `owner`, one of `INTERNALS`; `default` where it is missing."""
    if name in hidden:
        return default
    return owner.get(name, default) if isinstance(owner, dict) else getattr(owner, name, default)


def transformed() -> bool:
    """Whether vmap or functorch's grad is at work: a loss is not a number yet."""
    active = private(torch._C, "_are_functorch_transforms_active")
    return active is not None and bool(active())


def tracing() -> bool:
    """Whether torch.jit.trace is at work."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def version_of(tensor: torch.Tensor) -> int:
    """How often operations have changed the tensor in place."""
    return int(private(tensor, "_version", 0))
