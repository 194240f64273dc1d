"""Trainings that a framework runs: the numbers recorded are those that the framework itself knows."""

import json
from importlib.util import find_spec

import pytest

from gradaudit.run import load
from tests.record.training import record, script

pytestmark = pytest.mark.long

needs_lightning = pytest.mark.skipif(find_spec("lightning") is None, reason="Lightning: pip install lightning")
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None or find_spec("accelerate") is None,
    reason="Hugging Face Trainer: pip install transformers accelerate",
)
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


def trained(folder, text, *arguments):
    script(folder, text)
    watched = record(folder, "--every", "1", "-o", "run", "train.py", *arguments, OMP_NUM_THREADS="1")
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


@needs_transformers
def test_hugging_face_trainer(tmp_path):
    run, known = trained(
        tmp_path,
        """
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
        json.dump(known, open("known.json", "w"))
        """,
    )
    facts = run.loss_facts(int(run.steps["loss"][0]))
    assert (facts.function, facts.reduction, facts.classes) == ("cross_entropy", "sum", 60)
    # The trainer divides its sum by a number of items of its own; the mean per valid target is ours to find.
    assert run.steps["micro_steps"].tolist() == [2] * 3
    assert run.steps["objective"].tolist() == pytest.approx(known["logged"], rel=1e-3)
    assert run.steps["targets"].tolist() == [2 * 2 * 11] * 3
    assert run.steps["mean_loss"].tolist() == pytest.approx(known["means"], rel=1e-4)
    assert run.steps["clip_threshold"].tolist() == pytest.approx([0.1] * 3)
    at_step = (run.matrix("gradient_norm", 0) ** 2).sum(axis=1) ** 0.5
    assert at_step.tolist() == pytest.approx(known["norms"], rel=1e-4)
    tied = next(tensor for tensor in run.meta.tensors if tensor.aliases)
    assert (tied.name, tied.aliases, tied.role) == ("transformer.wte.weight", ["lm_head.weight"], "embedding")
    assert run.evaluations["after_step"].tolist() == [2]
    assert run.evaluations["targets"].tolist() == [16 * 11]


@needs_accelerate
def test_accelerate(tmp_path):
    run, known = trained(
        tmp_path,
        """
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
        json.dump(known, open("known.json", "w"))
        """,
    )
    pairs = zip(known["losses"][::2], known["losses"][1::2], strict=True)
    assert run.steps["mean_loss"].tolist() == pytest.approx([sum(pair) / 2 for pair in pairs], rel=1e-5)
    assert run.steps["objective"].tolist() == pytest.approx(run.steps["mean_loss"].tolist(), rel=1e-5)
    assert run.steps["gradient_norm"].tolist() == pytest.approx(known["norms"], rel=1e-5)
    assert run.steps["clip_threshold"].tolist() == pytest.approx([0.05] * 4)
