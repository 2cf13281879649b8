"""Makes the golden vectors of model/train's schedules, label smoothing and average of the weights from Hugging Face's
Trainer: python make_trainer.py (torch 2.8.0, transformers 4.57.1, accelerate 1.15.0, diffusers 0.35.2).

Trainer itself trains the model of same/ for 200 steps on the batch of its golden.json, once for each schedule with and
without warm-up: trainer/golden.json has learning rate, loss and gradient norm of each step. One of them has label
smoothing, and EMAModel of diffusers beside it: trainer/golden.safetensors has the weights and their average after STEPS
steps of it."""
import base64, json, pathlib

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from transformers import Trainer, TrainerCallback, TrainingArguments, VisionEncoderDecoderModel

HERE = pathlib.Path(__file__).parent
TOTAL, STEPS = 200, 40
RUNS = [
    {"lr_scheduler_type": "linear", "warmup_steps": 20},
    {"lr_scheduler_type": "cosine", "warmup_steps": 20, "label_smoothing_factor": 0.1, "ema": 0.9},
    {"lr_scheduler_type": "cosine", "warmup_steps": 0},
    {"lr_scheduler_type": "constant", "warmup_steps": 0},
    {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 50},
]


def aligned(outputs, labels, num_items_in_batch=None):
    """transformers 4.57.1 shifts the labels of this model twice, unless Trainer computes the loss."""
    return torch.nn.functional.cross_entropy(outputs.logits.reshape(-1, outputs.logits.shape[-1]), labels.reshape(-1), ignore_index=-100)


class InOrder(Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(run, golden):
    torch.manual_seed(0)
    m = VisionEncoderDecoderModel.from_pretrained(HERE / "same", attn_implementation="eager")
    for p in m.encoder.pooler.parameters():  # which a captioner does not use
        p.requires_grad = False
    for module in m.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    k, t = golden["captions"], golden["tokens"]
    side = m.config.encoder.image_size
    pixels = np.frombuffer(base64.b64decode(golden["pixels"]), np.uint8).reshape(-1, side, side, 3)
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    x = torch.from_numpy(x).permute(0, 3, 1, 2).repeat_interleave(k, 0)
    y = torch.tensor(golden["labels"]).reshape(-1, t)
    ids = torch.cat([torch.full((len(y), 1), m.config.decoder_start_token_id), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, m.config.pad_token_id)
    rows = [{"pixel_values": x[i], "labels": y[i], "decoder_input_ids": ids[i]} for i in range(len(y))] * TOTAL

    smoothing = run.get("label_smoothing_factor", 0)
    args = TrainingArguments(
        output_dir="/tmp/trainer", max_steps=TOTAL, per_device_train_batch_size=len(y), learning_rate=1e-3, weight_decay=0.1,
        adam_beta1=0.9, adam_beta2=0.98, adam_epsilon=1e-8, max_grad_norm=0.5, optim="adamw_torch", lr_scheduler_type=run["lr_scheduler_type"],
        warmup_steps=run["warmup_steps"], label_smoothing_factor=smoothing, logging_steps=1, logging_nan_inf_filter=False,
        save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False)
    after = {}
    ema = EMAModel(m.parameters(), decay=run["ema"]) if "ema" in run else None

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if ema:
                ema.step(m.parameters())
            if ema and state.global_step == STEPS:
                for (n, p), a in zip(m.named_parameters(), ema.shadow_params):
                    if not n.startswith("encoder.pooler"):
                        after["after." + n], after["average." + n] = p.detach().clone().contiguous(), a.clone().contiguous()

    trainer = InOrder(model=m, args=args, train_dataset=rows, callbacks=[Watch()], compute_loss_func=None if smoothing else aligned)
    exact, schedule, step = [], [], trainer.training_step

    def training_step(*a, **k):
        schedule.append(trainer.optimizer.param_groups[0]["lr"])
        loss = step(*a, **k)
        exact.append(float(loss))
        return loss

    trainer.training_step = training_step
    trainer.train()
    norms = [r["grad_norm"] for r in trainer.state.log_history if "grad_norm" in r]
    assert len(schedule) == len(exact) == len(norms) == TOTAL
    return {**run, "learning_rate": schedule, "loss": exact, "grad_norm": norms}, after


def main():
    torch.set_num_threads(1)
    golden = json.loads((HERE / "same" / "golden.json").read_text())
    out = HERE / "trainer"
    out.mkdir(exist_ok=True)
    runs = []
    for run in RUNS:
        result, after = train(run, golden)
        runs.append(result)
        if after:
            save_file(after, out / "golden.safetensors")
    (out / "golden.json").write_text(json.dumps({"total_steps": TOTAL, "steps": STEPS, "runs": runs}) + "\n")


main()
