"""Makes the golden vectors of training with LoRA from PyTorch and PEFT: python make_lora.py (torch 2.8.0, transformers
4.57.1, peft 0.17.1; PYTHONHASHSEED=0, since PEFT keeps target_modules as a set).

The model and batch of same/, ten steps of torch.optim.AdamW. lora/NAME is an adapter as PEFT saves it before the first
step, with B drawn, too, so that all gradients are to be seen; golden.safetensors there has its logits, loss_sum, grad.NAME
and after.NAME of every tensor that is trained, by the names of the captioner's, golden.json what each step reported.

    python make_lora.py check BASE MODEL

loads MODEL/adapter, which distilvit published, onto BASE and compares its logits with those of MODEL, whose weights
have the adapter in them."""
import base64, json, os, pathlib, shutil, sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import VisionEncoderDecoderModel, get_linear_schedule_with_warmup

HERE = pathlib.Path(__file__).parent
CROSS = [f"decoder.transformer.h.{i}.{part}" for i in range(2) for part in ("crossattention", "ln_cross_attn")]
ADAPTERS = {
    "plain": LoraConfig(r=4, lora_alpha=6, target_modules=["c_attn", "query", "value"]),
    # all linear layers but cross-attention, which is trained whole
    "whole": LoraConfig(
        r=3, lora_alpha=5, use_rslora=True, modules_to_save=CROSS,
        target_modules=["query", "key", "value", "dense", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
        exclude_modules=r".*\.crossattention\..*|encoder\.pooler\..*",
    ),
}


def base(folder):
    return VisionEncoderDecoderModel.from_pretrained(folder, attn_implementation="eager").eval()  # no dropout


def name(n):
    """A parameter's name in the captioner."""
    n = n.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
    return n.replace(".lora_A.default.", ".lora_A.").replace(".lora_B.default.", ".lora_B.")


def logits_of(m, x, ids, captions):
    enc = m.encoder(x).last_hidden_state.repeat_interleave(captions, 0)
    return m.decoder(input_ids=ids, encoder_hidden_states=enc).logits


def make(which, config):
    torch.manual_seed(7)
    golden = json.loads((HERE / "same" / "golden.json").read_text())
    m = get_peft_model(base("same"), config).eval()
    for n, p in m.named_parameters():
        if ".lora_B." in n:
            torch.nn.init.normal_(p, std=0.05)
    out = HERE / "lora" / which
    shutil.rmtree(out, ignore_errors=True)
    m.save_pretrained(out)
    (out / "README.md").unlink()  # a card to be filled in
    trained = {name(n): p for n, p in m.named_parameters() if p.requires_grad}
    groups = [{"params": [p for p in trained.values() if (p.ndim > 1) == matrix], "weight_decay": decay} for matrix, decay in ((True, 0.1), (False, 0.0))]
    opt = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), eps=1e-8)
    schedule = get_linear_schedule_with_warmup(opt, 3, 20)
    net = m.base_model.model
    k, t, side = golden["captions"], golden["tokens"], net.config.encoder.image_size
    pixels = np.frombuffer(base64.b64decode(golden["pixels"]), np.uint8).reshape(-1, side, side, 3)
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    y = torch.tensor(golden["labels"]).reshape(-1, t)
    ids = torch.cat([torch.full((len(y), 1), net.config.decoder_start_token_id), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, net.config.pad_token_id)
    tensors, steps = {}, []
    for step in range(10):
        opt.zero_grad()
        logits = logits_of(net, x, ids, k)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1), ignore_index=-100, reduction="sum")
        (loss / golden["label_tokens"]).backward()
        if step == 0:
            tensors["logits"] = logits.detach().clone()
            tensors |= {"grad." + n: p.grad.clone() for n, p in trained.items()}
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), 0.5)
        opt.step()
        schedule.step()
        steps.append({"loss_sum": float(loss.detach()), "grad_norm": float(norm)})
    tensors |= {"after." + n: p.detach().clone().contiguous() for n, p in trained.items()}
    save_file(tensors, out / "golden.safetensors")
    for file in out.iterdir():
        file.chmod(0o644)
    (out / "golden.json").write_text(json.dumps({"steps": steps}) + "\n")


def check(base_dir, model_dir):
    torch.manual_seed(1)
    merged, m = base(model_dir), PeftModel.from_pretrained(base(base_dir), pathlib.Path(model_dir) / "adapter").eval()
    c = merged.config
    x = torch.rand(4, 3, c.encoder.image_size, c.encoder.image_size) * 2 - 1
    ids = torch.randint(0, c.decoder.vocab_size, (4, 12))
    with torch.no_grad():
        want, got, without = (logits_of(n, x, ids, 1) for n in (merged, m.base_model.model, base(base_dir)))
    print(f"logits up to {float(want.abs().max()):.4g}: the adapter's differ from the model's by {float((got - want).abs().max()):.2g}, the base's by {float((without - want).abs().max()):.2g}")


torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
if sys.argv[1:2] == ["check"]:
    check(*sys.argv[2:])
else:
    os.chdir(HERE)  # adapter_config.json names the base as it was given
    for which, config in ADAPTERS.items():
        make(which, config)
