"""Trainings that a framework runs: the numbers recorded are those that the framework itself knows."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from gradaudit.reading.run import load
from tests.record.training import record, script

pytestmark = pytest.mark.long

needs_lightning = pytest.mark.skipif(find_spec("lightning") is None, reason="Lightning: pip install lightning")
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("accelerate") is None,
    reason="Hugging Face Trainer: pip install transformers accelerate",
)
needs_keras = pytest.mark.skipif(find_spec("keras") is None, reason="Keras on torch: pip install keras")
needs_fastai = pytest.mark.skipif(find_spec("fastai") is None, reason="fastai: pip install fastai")
needs_accelerate = pytest.mark.skipif(find_spec("accelerate") is None, reason="Accelerate: pip install accelerate")

LIGHTNING = """
    import json, logging, os, sys, warnings
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    import lightning, torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    class Module(lightning.LightningModule):
        def __init__(self, manual):
            super().__init__()
            self.body = nn.Linear(10, 3)
            self.automatic_optimization = not manual
            self.known = []

        def training_step(self, batch, index):
            loss = cross_entropy(self.body(batch[0]), batch[1])
            if not self.automatic_optimization:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            self.known.append(loss.item())
            return loss

        def validation_step(self, batch, index):
            val_loss = cross_entropy(self.body(batch[0]), batch[1])
            self.log("val_loss", val_loss)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Norms(lightning.Callback):
        norms = []

        def on_before_optimizer_step(self, trainer, module, optimizer):
            self.norms.append(float(sum(p.grad.double().square().sum() for p in module.parameters()).sqrt()))

    if __name__ == "__main__":
        lightning.seed_everything(0, verbose=False)
        data = torch.utils.data.TensorDataset(torch.randn(32, 10), torch.randint(0, 3, (32,)))
        train, valid = torch.utils.data.DataLoader(data, 4), torch.utils.data.DataLoader(data, 8)
        module = Module(manual=sys.argv[1] == "manual")
        options = {"manual": {}, "automatic": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.05},
                   "ddp": {"strategy": "ddp", "devices": 2}}[sys.argv[1]]
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                                    enable_progress_bar=False, enable_model_summary=False, callbacks=[Norms()],
                                    **{"devices": 1, **options})
        trainer.fit(module, train, valid)
        if trainer.global_rank == 0:
            with open("known.json", "w") as file:
                json.dump({"losses": module.known, "norms": Norms.norms}, file)
"""


TORCHRUN = ("--", sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def trained(folder, text, *arguments, launcher=()):
    script(folder, text)
    watched = record(folder, "--every", "1", "-o", "run", *launcher, "train.py", *arguments, OMP_NUM_THREADS="1")
    assert watched.returncode == 0, watched.stderr[-3000:]
    assert "recording stopped" not in watched.stderr
    return load(folder / "run"), json.loads((folder / "known.json").read_text())


@needs_lightning
def test_lightning_with_accumulation_and_clipping(tmp_path):
    run, known = trained(tmp_path, LIGHTNING, "automatic")
    pairs = list(zip(known["losses"][::2], known["losses"][1::2], strict=True))
    assert run.steps["mean_loss"].tolist() == pytest.approx([sum(pair) / 2 for pair in pairs], rel=1e-5)
    assert run.steps["objective"].tolist() == pytest.approx([sum(pair) / 2 for pair in pairs], rel=1e-5)
    assert run.steps["micro_steps"].tolist() == [2] * 4
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.steps["clip_threshold"].tolist() == pytest.approx([0.05] * 4)
    assert run.steps["training"].tolist() == [1] * 4
    assert [tensor.name for tensor in run.meta.tensors] == ["body.weight", "body.bias"]
    assert run.evaluations["split"].unique().tolist() == ["validation"]
    # The two batches of Lightning's sanity check come before the first step.
    assert run.evaluations[["after_step", "batches"]].to_numpy().tolist() == [[-1, 2], [3, 4]]
    assert run.evaluations["training"].tolist() == [-1, 0], "no model is known before the first step"


@needs_lightning
def test_lightning_with_manual_optimization(tmp_path):
    run, known = trained(tmp_path, LIGHTNING, "manual")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known["losses"], rel=1e-5)
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.steps["stale"].tolist() == [-1] + [0] * 7


@needs_lightning
def test_lightning_with_two_processes(tmp_path):
    run, known = trained(tmp_path, LIGHTNING, "ddp")
    assert sorted(path.name for path in run.path.glob("rank*")) == ["rank00000", "rank00001"]
    assert run.problems == ()
    assert run.meta.world_size == 2
    assert run.steps["mean_loss"].tolist() == pytest.approx(known["losses"], rel=1e-5)
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.steps["training"].tolist() == [1] * 4
    assert [tensor.name for tensor in run.meta.tensors] == ["body.weight", "body.bias"]


@needs_lightning
def test_lightning_in_a_recorder(tmp_path):
    fit = "trainer.fit(module, train, valid)"
    assert fit in LIGHTNING
    within = f'with __import__("gradaudit").Recorder(module, directory="run", every=1): {fit}'
    # A recorder in the script sees functions under their module's name; `gradaudit record` is there before imports.
    named = "from torch.nn.functional import cross_entropy"
    assert named in LIGHTNING
    seen = LIGHTNING.replace(named, "from torch.nn import functional").replace("= cross_", "= functional.cross_")
    script(tmp_path, seen.replace(fit, within))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", "automatic"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=240)
    run, known = load(tmp_path / "run"), json.loads((tmp_path / "known.json").read_text())
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.evaluations["split"].unique().tolist() == ["validation"]


HUGGING_FACE = """
    import json, os
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=60, n_positions=16,
                        bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    known = {"means": [], "norms": [], "logged": []}
    mean = []

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            tokens = torch.randint(0, 60, (12,), generator=generator)
            labels = tokens.clone()
            labels[:1] = -100
            return {"input_ids": tokens, "labels": labels}

    def watch(module, args, kwargs, output):
        if module.training:
            logits, labels = output.logits.detach()[:, :-1], kwargs["labels"][:, 1:]
            chosen = logits.double().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
            mean.append(-chosen[labels >= 0].mean().item())

    class Norms(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            known["norms"].append(float(sum(p.grad.double().square().sum() for p in model.parameters()).sqrt()))

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                known["logged"].append(logs["loss"])

    arguments = TrainingArguments(
        "out", per_device_train_batch_size=2, gradient_accumulation_steps=2, max_steps=3, logging_steps=1,
        report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, learning_rate=1e-2, max_grad_norm=0.1,
        eval_strategy="steps", eval_steps=3, logging_nan_inf_filter=False,
    )
    trainer = Trainer(model, arguments, train_dataset=Data(), eval_dataset=Data(), callbacks=[Norms()])
    handle = model.register_forward_hook(watch, with_kwargs=True)
    trainer.train()
    known["means"] = [(a + b) / 2 for a, b in zip(mean[::2], mean[1::2])]
    if trainer.is_world_process_zero():
        json.dump(known, open("known.json", "w"))
"""


@needs_transformers
@pytest.mark.parametrize("ranks", [1, 2])
def test_hugging_face_trainer(tmp_path, ranks):
    run, known = trained(tmp_path, HUGGING_FACE, launcher=TORCHRUN if ranks == 2 else ())
    assert run.problems == ()
    assert run.meta.world_size == ranks
    facts = run.loss_facts(int(run.steps["loss"][0]))
    assert (facts.function, facts.reduction, facts.classes) == ("cross_entropy", "sum", 60)
    # The trainer divides its sum by a number of items of its own; the mean per valid target is ours to find.
    assert run.steps["micro_steps"].tolist() == [2] * 3
    # Over several ranks it logs their mean; the record has the first rank's own.
    assert run.steps["objective"].tolist() == pytest.approx(known["logged"], rel=1e-3 if ranks == 1 else 0.05)
    assert run.steps["targets"].tolist() == [2 * 2 * 11] * 3
    assert run.steps["mean_loss"].tolist() == pytest.approx(known["means"], rel=1e-4)
    assert run.steps["clip_threshold"].tolist() == pytest.approx([0.1] * 3)
    at_step = (run.training(0).matrix("gradient_norm") ** 2).sum(axis=1) ** 0.5
    assert at_step.tolist() == pytest.approx(known["norms"], rel=1e-4)
    tied = next(tensor for tensor in run.meta.tensors if tensor.aliases)
    assert (tied.name, tied.aliases, tied.role) == ("transformer.wte.weight", ["lm_head.weight"], "embedding")
    assert run.evaluations["after_step"].tolist() == [2]
    assert run.evaluations["targets"].tolist() == [16 * 11 // ranks]


ACCELERATE = """
    import json, torch
    from accelerate import Accelerator
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = torch.nn.Linear(10, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    data = torch.utils.data.TensorDataset(torch.randn(32, 10), torch.randint(0, 3, (32,)))
    model, optimizer, loader = accelerator.prepare(model, optimizer, torch.utils.data.DataLoader(data, 4))
    known = {"losses": [], "norms": []}
    for x, y in loader:
        with accelerator.accumulate(model):
            loss = cross_entropy(model(x), y)
            accelerator.backward(loss)
            known["losses"].append(loss.item())
            if accelerator.sync_gradients:
                known["norms"].append(float(accelerator.clip_grad_norm_(model.parameters(), 0.05)))
            optimizer.step()
            optimizer.zero_grad()
    if accelerator.is_main_process:
        json.dump(known, open("known.json", "w"))
"""


@needs_accelerate
@pytest.mark.parametrize("ranks", [1, 2])
def test_accelerate(tmp_path, ranks):
    run, known = trained(tmp_path, ACCELERATE, launcher=TORCHRUN if ranks == 2 else ())
    assert run.problems == ()
    assert run.meta.world_size == ranks
    pairs = zip(known["losses"][::2], known["losses"][1::2], strict=True)
    assert run.steps["mean_loss"].tolist() == pytest.approx([sum(pair) / 2 for pair in pairs], rel=1e-5)
    assert run.steps["objective"].tolist() == pytest.approx(run.steps["mean_loss"].tolist(), rel=1e-5)
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.steps["clip_threshold"].tolist() == pytest.approx([0.05] * (4 // ranks))


@needs_keras
@pytest.mark.parametrize("every", [1, 2], ids=["plain", "accumulated"])
def test_keras_on_torch(tmp_path, every):
    run, known = trained(
        tmp_path,
        """
        import json, os, sys
        os.environ["KERAS_BACKEND"] = "torch"
        import keras, numpy, torch

        every = int(sys.argv[1])
        known = {"norms": [], "losses": [], "moved": []}
        gathered = []

        class Watched(keras.optimizers.Adam):
            def apply(self, grads, trainable_variables=None):
                gathered.append([gradient.clone() for gradient in grads])
                before = trainable_variables[0].value.detach().clone()
                super().apply(grads, trainable_variables)
                if len(gathered) == every:
                    mean = [sum(parts) / every for parts in zip(*gathered)]
                    known["norms"].append(float(sum(g.double().square().sum() for g in mean).sqrt()))
                    known["moved"].append(float((trainable_variables[0].value.detach() - before).norm()))
                    gathered.clear()

        class Losses(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                self.model.reset_metrics()
                known["losses"].append(logs["loss"])

        keras.utils.set_random_seed(0)
        model = keras.Sequential([
            keras.Input((10,)), keras.layers.Dense(16, "relu"), keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.25), keras.layers.Dense(3),
        ])
        optimizer = Watched(1e-2, gradient_accumulation_steps=every if every > 1 else None)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x, y = numpy.random.randn(64, 10).astype("float32"), numpy.random.randint(0, 3, 64)
        fitted = model.fit(x, y, batch_size=16, epochs=2, validation_data=(x, y), verbose=0, callbacks=[Losses()])
        known["validation"] = fitted.history["val_loss"]
        known["paths"] = [variable.path for variable in model.trainable_variables]
        json.dump(known, open("known.json", "w"))
        """,
        str(every),
    )
    groups = [known["losses"][start : start + every] for start in range(0, 8, every)]
    assert run.steps["micro_steps"].tolist() == [every] * len(groups)
    assert run.steps["objective"].tolist() == pytest.approx([sum(group) for group in groups], rel=1e-5)
    assert run.steps["mean_loss"].tolist() == pytest.approx([sum(group) / every for group in groups], rel=1e-5)
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.training(0).matrix("update_norm")[:, 0].tolist() == pytest.approx(known["moved"], rel=1e-4)
    assert [list(rates) for rates in run.steps["learning_rate"]] == [pytest.approx([1e-2])] * len(groups)
    assert run.meta.optimizers[0].optimizer_class == "Watched"
    assert [tensor.name for tensor in run.meta.tensors] == known["paths"]
    assert [tensor.role for tensor in run.meta.tensors] == ["weight", "bias", "norm", "norm", "weight", "bias"]
    assert [tensor.module_class for tensor in run.meta.tensors[::2]] == ["Dense", "BatchNormalization", "Dense"]
    assert [module.dropout for module in run.meta.modules if module.dropout] == [0.25]
    assert run.evaluations["split"].tolist() == ["validation"] * 2
    assert run.evaluations["mean_loss"].tolist() == pytest.approx(known["validation"], rel=1e-5)


@needs_keras
def test_a_loss_of_keras_that_torch_does_not_compute(tmp_path):
    run, known = trained(
        tmp_path,
        """
        import json, os
        os.environ["KERAS_BACKEND"] = "torch"
        import keras, numpy
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
        model.compile("sgd", "mean_squared_logarithmic_error")
        x, y = numpy.random.rand(64, 10).astype("float32"), numpy.random.rand(64).astype("float32")
        fitted = model.fit(x, y, batch_size=64, epochs=3, validation_data=(x, y), verbose=0)
        json.dump(fitted.history, open("known.json", "w"))
        """,
    )
    assert run.steps["mean_loss"].tolist() == pytest.approx(known["loss"], rel=1e-5)
    assert run.evaluations["mean_loss"].tolist() == pytest.approx(known["val_loss"], rel=1e-5)
    assert run.evaluations["split"].unique().tolist() == ["validation"]
    assert run.meta.losses[0].function == "logged"


@needs_fastai
@pytest.mark.parametrize("optimizer", ["Adam", "OptimWrapper"])
def test_fastai(tmp_path, optimizer):
    run, known = trained(
        tmp_path,
        """
        import json, sys, torch
        from fastai.basics import *
        from fastai.learner import Learner
        from fastai.torch_core import TensorCategory

        torch.manual_seed(0)
        x, y = torch.randn(64, 10), torch.randint(0, 3, (64,))
        data = [(features, TensorCategory(label)) for features, label in zip(x, y)]
        loaders = DataLoaders(DataLoader(data, bs=16), DataLoader(data, bs=32))
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
        wrapped = partial(OptimWrapper, opt=torch.optim.Adam)
        learn = Learner(loaders, model, loss_func=CrossEntropyLossFlat(), lr=1e-2, wd=0.1,
                        opt_func=Adam if sys.argv[1] == "Adam" else wrapped)
        known = {"losses": [], "norms": [], "moved": []}

        class Watch(Callback):
            def before_step(self):
                known["losses"].append(self.loss.item())
                known["norms"].append(float(sum(p.grad.double().square().sum() for p in model.parameters()).sqrt()))
                self.before = model[0].weight.detach().clone()

            def after_step(self):
                known["moved"].append(float((model[0].weight.detach() - self.before).norm()))

        with learn.no_logging():
            learn.fit(2, cbs=[Watch()])
        known["validation"] = [values[1] for values in learn.recorder.values]
        json.dump(known, open("known.json", "w"))
        """,
        optimizer,
    )
    assert run.steps["mean_loss"].tolist() == pytest.approx(known["losses"], rel=1e-5)
    assert run.steps["objective"].tolist() == pytest.approx(known["losses"], rel=1e-5)
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.training(0).matrix("update_norm")[:, 0].tolist() == pytest.approx(known["moved"], rel=1e-4)
    assert [list(rates) for rates in run.steps["learning_rate"]] == [pytest.approx([1e-2])] * 8
    assert run.meta.optimizers[0].optimizer_class == "Adam"
    assert [tensor.name for tensor in run.meta.tensors] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    facts = run.loss_facts(int(run.steps["loss"][0]))
    assert (facts.function, facts.classes) == ("cross_entropy", 3)
    assert run.evaluations["split"].tolist() == ["validation"] * 2
    assert run.evaluations["mean_loss"].tolist() == pytest.approx(known["validation"], rel=1e-5)
