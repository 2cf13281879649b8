"""Makes the golden vectors of training parts of a network otherwise, from PyTorch: python make_parts.py (torch 2.8.0,
transformers 4.57.1).

The model and batch of same/, ten steps of torch.optim.AdamW with a group of parameters for each pace, as the tests of
model/train have them: parts/golden.safetensors has after.NAME of every tensor, golden.json what each step reported and
the names that were frozen."""
import base64, json, pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import VisionEncoderDecoderModel, get_linear_schedule_with_warmup

HERE = pathlib.Path(__file__).parent
LAYERS = 2  # of either tower
RATE, DECAY, LAYER_DECAY = 2e-3, 0.1, 0.8


def depth(name):
    """Layers above, itself included."""
    for tower, embeddings in (("encoder.encoder.layer.", "encoder.embeddings."), ("decoder.transformer.h.", "decoder.transformer.w")):
        if name.startswith(tower):
            return LAYERS - int(name[len(tower):].split(".")[0])
        if name.startswith(embeddings):
            return LAYERS + 1
    return 0


def pace(name, p):
    """None where it is frozen, else learning rate and weight decay."""
    rate, decay, frozen = RATE, DECAY, False
    if name.startswith("encoder.embeddings.") or name.startswith("encoder.encoder.layer.0."):  # train.freeze
        frozen = True
    if name.startswith("encoder."):
        rate = 5e-4
    if ".crossattention." in name or ".ln_cross_attn." in name:
        rate, decay = 4e-3, 0.0
    if name == "encoder.embeddings.position_embeddings":
        frozen = False
    if name.startswith("decoder.transformer.wte"):
        frozen = True
    return None if frozen else (rate * LAYER_DECAY ** depth(name), decay if p.ndim > 1 else 0.0)


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    golden = json.loads((HERE / "same" / "golden.json").read_text())
    m = VisionEncoderDecoderModel.from_pretrained(HERE / "same", attn_implementation="eager").eval()
    named = {n: p for n, p in m.named_parameters() if not n.startswith("encoder.pooler")}
    for p in m.encoder.pooler.parameters():
        p.requires_grad = False
    frozen, groups = [], {}
    for n, p in named.items():
        how = pace(n, p)
        if how is None:
            p.requires_grad = False
            frozen.append(n)
        else:
            groups.setdefault(how, []).append(p)
    opt = torch.optim.AdamW([{"params": ps, "lr": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()], betas=(0.9, 0.98), eps=1e-8)
    schedule = get_linear_schedule_with_warmup(opt, 3, 20)
    k, t, side = golden["captions"], golden["tokens"], m.config.encoder.image_size
    pixels = np.frombuffer(base64.b64decode(golden["pixels"]), np.uint8).reshape(-1, side, side, 3)
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    y = torch.tensor(golden["labels"]).reshape(-1, t)
    ids = torch.cat([torch.full((len(y), 1), m.config.decoder_start_token_id), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, m.config.pad_token_id)
    steps = []
    for _ in range(10):
        opt.zero_grad()
        enc = m.encoder(x).last_hidden_state.repeat_interleave(k, 0)
        logits = m.decoder(input_ids=ids, encoder_hidden_states=enc).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1), ignore_index=-100, reduction="sum")
        (loss / golden["label_tokens"]).backward()
        norm = torch.nn.utils.clip_grad_norm_([p for p in named.values() if p.requires_grad], 0.5)
        opt.step()
        schedule.step()
        steps.append({"loss_sum": float(loss.detach()), "grad_norm": float(norm)})
    out = HERE / "parts"
    out.mkdir(exist_ok=True)
    save_file({"after." + n: p.detach().clone().contiguous() for n, p in named.items()}, out / "golden.safetensors")
    (out / "golden.safetensors").chmod(0o644)
    (out / "golden.json").write_text(json.dumps({"frozen": sorted(frozen), "steps": steps}) + "\n")


main()
