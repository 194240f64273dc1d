"""The healthy trainings: every script as it stands, and with the optimizers, schedules and habits of ordinary users."""

from benchmarks.lab.configuration import Configuration, Edits

_STEP = "    optimizer.step()\n"
_ZERO = "    optimizer.zero_grad()\n"
_BACKWARD = "    loss.backward()\n"
_ADAM = "optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)\n"
_ADAMW = "optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)\n"


def _optimizer(old: str, new: str) -> tuple[str, str]:
    return old, f"optimizer = torch.optim.{new}\n"


def _rate(old: str, new: str) -> tuple[str, str]:
    return f"LEARNING_RATE = {old}\n", f"LEARNING_RATE = {new}\n"


def _schedule(optimizer: str, scheduler: str) -> Edits:
    """A schedule behind the line `optimizer`, stepped after every optimizer step."""
    line = f"scheduler = torch.optim.lr_scheduler.{scheduler}\n"
    return (optimizer, optimizer + line), (_STEP, _STEP + "    scheduler.step()\n")


def _accumulate(count: int) -> Edits:
    """Gradients of `count` micro-batches a step."""
    return (
        (_ZERO, f"    if step % {count} == 0:\n        optimizer.zero_grad()\n"),
        (_BACKWARD, f"    (loss / {count}).backward()\n"),
        (_STEP, f"    if step % {count} == {count - 1}:\n        optimizer.step()\n"),
    )


def _bfloat16(output: str) -> tuple[str, str]:
    """The forward pass `output` under autocast."""
    return (
        f"    output = {output}\n",
        f'    with torch.autocast("cpu", torch.bfloat16):\n        output = {output}\n    output = output.float()\n',
    )


_UNEDITED = [
    "mlp_classifier",
    "mlp_regression",
    "tabular_binary",
    "cnn_batchnorm",
    "resnet",
    "vit",
    "transformer_prenorm",
    "transformer_postnorm",
    "transformer_tied",
    "lstm_language_model",
    "gru_language_model",
    "word_language_model",
    "recommender",
    "gcn",
    "autoencoder",
    "vae",
    "gan",
    "contrastive",
    "reinforce",
    "lora",
    "mixture_of_experts",
    "rezero",
    "finetune_head",
    "finetune_gradual",
    "finetune_frozen_norm",
    "imbalanced",
    "multilabel",
    "poisson_regression",
    "huber_regression",
    "quantile_regression",
    "deep_tanh",
    "deep_sigmoid",
    "logistic_lbfgs",
    "lion_classifier",
    "text_bag",
    "skip_gram",
    "segmentation",
    "diffusion",
    "distillation",
    "two_towers",
    "sequence_tagger",
    "siamese",
    "ddp_mlp",
    "ddp_cnn",
    "ddp_language_model",
    "double_dqn_grid",
    "dqn_pole",
    "ppo_grid",
    "ppo_continuous",
    "vae_points",
    "vae_annealed",
    "wgan_penalty",
    "lsgan_conditional",
    "multitask_trunk",
    "multitask_uncertainty",
    "mean_teacher",
    "distillation_features",
    "retrieval_triplet",
    "retrieval_in_batch",
    "tabular_uncalled",
    "tabular_steps",
    "by_hand_mlp",
    "by_hand_language_model",
    "compiled_gpt",
    "compiled_cnn",
]

_EDITED = (
    # mlp_classifier: optimizers, schedules, batches
    Configuration("mlp_classifier-sgd", "mlp_classifier", (_optimizer(_ADAM, "SGD(model.parameters(), lr=0.2)"),)),
    Configuration(
        "mlp_classifier-momentum",
        "mlp_classifier",
        (_optimizer(_ADAM, "SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)"),),
    ),
    Configuration(
        "mlp_classifier-adadelta", "mlp_classifier", (_optimizer(_ADAM, "Adadelta(model.parameters(), lr=1.0)"),)
    ),
    Configuration(
        "mlp_classifier-muon",
        "mlp_classifier",
        (
            (
                _ADAM,
                "matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]\n"
                "vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]\n"
                "muon = torch.optim.Muon(matrices, lr=0.01)\n"
                "optimizer = torch.optim.AdamW(vectors, lr=LEARNING_RATE)\n",
            ),
            (_ZERO, "    muon.zero_grad()\n    optimizer.zero_grad()\n"),
            (_STEP, "    muon.step()\n    optimizer.step()\n"),
        ),
    ),
    Configuration(
        "mlp_classifier-one_cycle",
        "mlp_classifier",
        _schedule(_ADAM, "OneCycleLR(optimizer, max_lr=6e-3, total_steps=STEPS)"),
    ),
    Configuration(
        "mlp_classifier-accumulation", "mlp_classifier", (*_accumulate(4), ("STEPS = 400\n", "STEPS = 1200\n"))
    ),
    Configuration("mlp_classifier-bfloat16", "mlp_classifier", (_bfloat16("model(x)"),)),
    Configuration(
        "mlp_classifier-batch_of_1",
        "mlp_classifier",
        (("BATCH = 64\n", "BATCH = 1\n"), ("STEPS = 400\n", "STEPS = 1500\n"), _rate("2e-3", "3e-4")),
    ),
    Configuration(
        "mlp_classifier-small_network", "mlp_classifier", (("WIDTH = 64\n", "WIDTH = 16\n"), _rate("2e-3", "5e-3"))
    ),
    # mlp_regression
    Configuration(
        "mlp_regression-nesterov",
        "mlp_regression",
        (_optimizer(_ADAMW, "SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)"),),
    ),
    Configuration(
        "mlp_regression-radam", "mlp_regression", (_optimizer(_ADAMW, "RAdam(model.parameters(), lr=1e-2)"),)
    ),
    Configuration(
        "mlp_regression-cyclic",
        "mlp_regression",
        (
            _optimizer(_ADAMW, "SGD(model.parameters(), lr=0.02, momentum=0.9)"),
            (
                'print(f"constant',
                "scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.005, 0.05, step_size_up=50)\n"
                'print(f"constant',
            ),
            (_STEP, _STEP + "    scheduler.step()\n"),
        ),
    ),
    Configuration(
        "mlp_regression-plateau",
        "mlp_regression",
        (
            (_ADAMW, _ADAMW + "scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)\n"),
            (
                "    if step % 20 == 0:\n",
                "    if step % 20 == 0:\n        scheduler.step(evaluate())\n",
            ),
        ),
    ),
    Configuration(
        "mlp_regression-clip_value",
        "mlp_regression",
        ((_STEP, "    nn.utils.clip_grad_value_(model.parameters(), 0.5)\n" + _STEP),),
    ),
    Configuration(
        "mlp_regression-full_batch",
        "mlp_regression",
        (
            ("    x, y = train_x[rows], train_y[rows]\n", "    x, y = train_x, train_y\n"),
            ("make_examples(5000)", "make_examples(1500)"),
            ("STEPS = 400\n", "STEPS = 300\n"),
            _rate("3e-3", "1e-2"),
        ),
    ),
    # tabular_binary
    Configuration(
        "tabular_binary-adagrad", "tabular_binary", (_optimizer(_ADAM, "Adagrad(model.parameters(), lr=0.05)"),)
    ),
    Configuration(
        "tabular_binary-weight_decay",
        "tabular_binary",
        (_optimizer(_ADAM, "AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1)"),),
    ),
    Configuration("tabular_binary-strong_dropout", "tabular_binary", (("DROPOUT = 0.2\n", "DROPOUT = 0.5\n"),)),
    # cnn_batchnorm
    Configuration(
        "cnn_batchnorm-momentum",
        "cnn_batchnorm",
        (_optimizer(_ADAMW, "SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)"),),
    ),
    Configuration(
        "cnn_batchnorm-label_smoothing",
        "cnn_batchnorm",
        (("    loss = F.cross_entropy(output, y)\n", "    loss = F.cross_entropy(output, y, label_smoothing=0.1)\n"),),
    ),
    Configuration(
        "cnn_batchnorm-mixup",
        "cnn_batchnorm",
        (
            (
                "        output = model(x)\n",
                "        other, share = torch.randperm(len(x)), torch.rand(())\n"
                "        output = model(share * x + (1 - share) * x[other])\n",
            ),
            (
                "        loss = F.cross_entropy(output, y)\n",
                "        loss = share * F.cross_entropy(output, y) + (1 - share) * F.cross_entropy(output, y[other])\n",
            ),
        ),
    ),
    Configuration(
        "cnn_batchnorm-bfloat16",
        "cnn_batchnorm",
        (
            (
                "        output = model(x)\n",
                '        with torch.autocast("cpu", torch.bfloat16):\n            output = model(x)\n'
                "        output = output.float()\n",
            ),
        ),
    ),
    # resnet
    Configuration(
        "resnet-adamw",
        "resnet",
        (
            (
                "SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY)",
                "AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)",
            ),
        ),
    ),
    Configuration(
        "resnet-one_cycle",
        "resnet",
        (("CosineAnnealingLR(optimizer, STEPS)", "OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS)"),),
    ),
    # vit
    Configuration(
        "vit-cosine",
        "vit",
        (
            (
                "LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))",
                "CosineAnnealingLR(optimizer, STEPS)",
            ),
        ),
    ),
    Configuration("vit-clipping", "vit", ((_STEP, "    nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n" + _STEP),)),
    Configuration("vit-bfloat16", "vit", (_bfloat16("model(x)"),)),
    # transformers
    Configuration(
        "transformer_prenorm-accumulation",
        "transformer_prenorm",
        (
            (_ZERO, "    if step % 2 == 0:\n        optimizer.zero_grad()\n"),
            (_BACKWARD, "    (loss / 2).backward()\n"),
            (
                "    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)\n"
                "    optimizer.step()\n    scheduler.step()\n",
                "    if step % 2 == 1:\n        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)\n"
                "        optimizer.step()\n        scheduler.step()\n",
            ),
            ("STEPS = 300\n", "STEPS = 500\n"),
            ("BATCH = 16\n", "BATCH = 8\n"),
        ),
    ),
    Configuration(
        "transformer_prenorm-no_clipping",
        "transformer_prenorm",
        (("    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)\n", ""),),
    ),
    Configuration(
        "transformer_tied-nadam",
        "transformer_tied",
        (
            (
                "torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))",
                "torch.optim.NAdam(groups, lr=LEARNING_RATE)",
            ),
        ),
    ),
    Configuration(
        "transformer_tied-constant",
        "transformer_tied",
        (
            ("lambda step: min(1.0, (step + 1) / WARMUP)", "lambda step: 1.0"),
            ("LEARNING_RATE = 4e-3\n", "LEARNING_RATE = 2e-3\n"),
            ("STEPS = 300\n", "STEPS = 400\n"),
        ),
    ),
    # recurrent
    Configuration(
        "lstm_language_model-large_rate_sgd",
        "lstm_language_model",
        (
            _optimizer(_ADAM, "SGD(model.parameters(), lr=10.0)"),
            ("MAX_NORM = 1.0\n", "MAX_NORM = 0.25\n"),
        ),
    ),
    Configuration(
        "gru_language_model-adamw",
        "gru_language_model",
        (
            (
                "torch.optim.RMSprop(model.parameters(), lr=LEARNING_RATE)",
                "torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)",
            ),
        ),
    ),
    Configuration(
        "gru_language_model-cosine",
        "gru_language_model",
        (("StepLR(optimizer, 100, gamma=0.4)", "CosineAnnealingLR(optimizer, STEPS)"),),
    ),
    # embeddings
    Configuration(
        "word_language_model-tied",
        "word_language_model",
        (
            (
                "        self.hidden = nn.Linear(3 * 32, WIDTH)\n        self.head = nn.Linear(WIDTH, VOCABULARY)\n",
                "        self.hidden = nn.Linear(3 * 32, 32)\n        self.head = nn.Linear(32, VOCABULARY)\n"
                "        nn.init.normal_(self.embedding.weight, std=0.1)\n"
                "        self.head.weight = self.embedding.weight\n",
            ),
            ("STEPS = 400\n", "STEPS = 500\n"),
        ),
    ),
    Configuration("recommender-adagrad", "recommender", (_optimizer(_ADAM, "Adagrad(model.parameters(), lr=0.05)"),)),
    Configuration(
        "recommender-sparse",
        "recommender",
        (
            ("nn.Embedding(USERS, WIDTH)", "nn.Embedding(USERS, WIDTH, sparse=True)"),
            ("nn.Embedding(ITEMS, WIDTH)", "nn.Embedding(ITEMS, WIDTH, sparse=True)"),
            (
                _ADAM,
                "tables = [model.users.weight, model.items.weight]\n"
                "layers = [*model.hidden.parameters(), *model.head.parameters()]\n"
                "sparse = torch.optim.SparseAdam(tables, lr=LEARNING_RATE)\n"
                "optimizer = torch.optim.Adam(layers, lr=LEARNING_RATE)\n",
            ),
            (_ZERO, "    sparse.zero_grad()\n    optimizer.zero_grad()\n"),
            (_STEP, "    sparse.step()\n    optimizer.step()\n"),
        ),
    ),
    Configuration(
        "text_bag-adam",
        "text_bag",
        (("Adagrad(model.parameters(), lr=LEARNING_RATE)", "Adam(model.parameters(), lr=3e-3)"),),
    ),
    Configuration("two_towers-small_rate", "two_towers", (_rate("1e-2", "5e-3"), ("STEPS = 500\n", "STEPS = 800\n"))),
    # others
    Configuration(
        "gcn-momentum",
        "gcn",
        (
            (
                "Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)",
                "SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=WEIGHT_DECAY)",
            ),
        ),
    ),
    Configuration("autoencoder-rmsprop", "autoencoder", (_optimizer(_ADAM, "RMSprop(model.parameters(), lr=1e-3)"),)),
    Configuration(
        "autoencoder-noise",
        "autoencoder",
        (("    output = model(x)\n", "    output = model(x + 0.3 * torch.randn_like(x))\n"),),
    ),
    Configuration(
        "mixture_of_experts-adamw_cosine", "mixture_of_experts", _schedule(_ADAM, "CosineAnnealingLR(optimizer, STEPS)")
    ),
    Configuration(
        "contrastive-large_batch",
        "contrastive",
        (("BATCH = 64\n", "BATCH = 256\n"), ("STEPS = 300\n", "STEPS = 150\n")),
    ),
    Configuration(
        "rezero-adamw", "rezero", (_optimizer(_ADAM, "AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)"),)
    ),
    Configuration(
        "deep_tanh-adam",
        "deep_tanh",
        (("SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)", "Adam(model.parameters(), lr=1e-3)"),),
    ),
    Configuration(
        "deep_sigmoid-momentum", "deep_sigmoid", (_optimizer(_ADAM, "SGD(model.parameters(), lr=0.1, momentum=0.9)"),)
    ),
    Configuration("imbalanced-unweighted", "imbalanced", (("POSITIVE_WEIGHT = 10.0\n", "POSITIVE_WEIGHT = 1.0\n"),)),
    Configuration(
        "multilabel-warmup_cosine",
        "multilabel",
        _schedule(
            _ADAM,
            "SequentialLR(optimizer, [torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=30), "
            "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 30)], [30])",
        ),
    ),
    Configuration(
        "poisson_regression-adamw_small_batch",
        "poisson_regression",
        (
            ("BATCH = 64\n", "BATCH = 8\n"),
            _rate("2e-3", "1e-3"),
            ("STEPS = 400\n", "STEPS = 800\n"),
        ),
    ),
    Configuration(
        "quantile_regression-momentum",
        "quantile_regression",
        (_optimizer(_ADAM, "SGD(model.parameters(), lr=0.1, momentum=0.9)"),),
    ),
    Configuration("segmentation-exponential", "segmentation", _schedule(_ADAMW, "ExponentialLR(optimizer, 0.99)")),
    Configuration(
        "sequence_tagger-adamax",
        "sequence_tagger",
        (("NAdam(model.parameters(), lr=LEARNING_RATE)", "Adamax(model.parameters(), lr=LEARNING_RATE)"),),
    ),
    Configuration(
        "finetune_head-adamw",
        "finetune_head",
        (("SGD(head.parameters(), lr=LEARNING_RATE, momentum=0.9)", "AdamW(head.parameters(), lr=3e-3)"),),
    ),
    Configuration(
        "finetune_frozen_norm-layer_rates",
        "finetune_frozen_norm",
        (
            (
                _ADAM,
                'body = {"params": backbone.parameters(), "lr": LEARNING_RATE / 10}\n'
                'groups = [body, {"params": head.parameters()}]\n'
                "optimizer = torch.optim.Adam(groups, lr=LEARNING_RATE)\n",
            ),
        ),
    ),
    Configuration("lora-rank_2", "lora", (("RANK = 8\n", "RANK = 2\n"),)),
    # the second round: targets that move, several losses, parts that are not called, no optimizer, a compiler
    Configuration(
        "double_dqn_grid-hard_copy",
        "double_dqn_grid",
        (
            (
                "    with torch.no_grad():\n        for slow, fast in zip(target.parameters(), model.parameters(), "
                "strict=True):\n            slow.lerp_(fast, FOLLOW)\n",
                "    if step % 50 == 49:\n        target.load_state_dict(model.state_dict())\n",
            ),
        ),
    ),
    Configuration(
        "dqn_pole-adamw_clip_value",
        "dqn_pole",
        (
            _optimizer(_ADAM, "AdamW(model.parameters(), lr=LEARNING_RATE, amsgrad=True)"),
            ("F.mse_loss(output, y)", "F.smooth_l1_loss(output, y)"),
            (_STEP, "    nn.utils.clip_grad_value_(model.parameters(), 100)\n" + _STEP),
        ),
    ),
    Configuration(
        "ppo_grid-annealed",
        "ppo_grid",
        (
            (
                "eps=1e-5)\n",
                "eps=1e-5)\nscheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 480)\n",
            ),
            ("            optimizer.step()\n", "            optimizer.step()\n            scheduler.step()\n"),
        ),
    ),
    Configuration(
        "ppo_continuous-clipped",
        "ppo_continuous",
        (
            (
                "            loss.backward()\n",
                "            loss.backward()\n            nn.utils.clip_grad_norm_(actor.parameters(), 0.5)\n",
            ),
        ),
    ),
    Configuration(
        "vae_annealed-cyclic",
        "vae_annealed",
        (("min(1.0, step / FADE_IN)", "min(1.0, 2 * (step % FADE_IN) / FADE_IN)"),),
    ),
    Configuration(
        "vae_points-adamw", "vae_points", (_optimizer(_ADAM, "AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)"),)
    ),
    Configuration(
        "wgan_penalty-rmsprop",
        "wgan_penalty",
        (
            ("Adam(generator.parameters(), lr=LEARNING_RATE, betas=BETAS)", "RMSprop(generator.parameters(), lr=1e-3)"),
            ("Adam(critic.parameters(), lr=LEARNING_RATE, betas=BETAS)", "RMSprop(critic.parameters(), lr=1e-3)"),
        ),
    ),
    Configuration(
        "multitask_trunk-momentum",
        "multitask_trunk",
        (_optimizer(_ADAM, "SGD(model.parameters(), lr=0.05, momentum=0.9)"),),
    ),
    Configuration(
        "mean_teacher-cosine",
        "mean_teacher",
        _schedule(
            "optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)\n",
            "CosineAnnealingLR(optimizer, STEPS)",
        ),
    ),
    Configuration("retrieval_in_batch-small_batch", "retrieval_in_batch", (("BATCH = 64\n", "BATCH = 16\n"),)),
    Configuration(
        "tabular_uncalled-momentum",
        "tabular_uncalled",
        (_optimizer(_ADAM, "SGD(model.parameters(), lr=0.1, momentum=0.9)"),),
    ),
    Configuration(
        "by_hand_mlp-momentum",
        "by_hand_mlp",
        (
            (
                'print(f"constant',
                'pace = [torch.zeros_like(parameter) for parameter in parameters]\nprint(f"constant',
            ),
            ("for parameter in parameters:", "for speed, parameter in zip(pace, parameters, strict=True):"),
            (
                "            parameter -= LEARNING_RATE * parameter.grad\n",
                "            speed.mul_(0.9).add_(parameter.grad)\n"
                "            parameter -= 0.2 * LEARNING_RATE * speed\n",
            ),
        ),
    ),
    Configuration(
        "compiled_cnn-one_cycle",
        "compiled_cnn",
        _schedule(_ADAMW, "OneCycleLR(optimizer, max_lr=1e-2, total_steps=STEPS)"),
    ),
)

HEALTHY: tuple[Configuration, ...] = (*(Configuration(name, name) for name in _UNEDITED), *_EDITED)
