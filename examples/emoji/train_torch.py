"""The emoji example in PyTorch: the same model, recipe and metrics as `distilvit run -f config.yaml`, for comparison.

    pip install torch==2.8.0 transformers==4.57.1 tokenizers==0.22.2 pillow numpy pyyaml rouge_score==0.1.2 nltk==3.10.4
    python train_torch.py --seeds 1,2,3 --out torch.json

Reads the model, the recipe and the augmentation from config.yaml and the pictures from data/ (make.sh writes them). What
differs from distilvit is drawn by other random numbers: initial weights, order, augmentation, dropout. Prints one JSON
object: each seed's test metrics by group, their mean and standard error. --minutes stops a seed's training early.
"""
import argparse
import json
import math
import os
import statistics
import time

import numpy as np
import torch
import yaml
from PIL import Image
from rouge_score import rouge_scorer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

HERE = os.path.dirname(os.path.abspath(__file__))
EOT = "<|endoftext|>"
PRESETS = {
    "tiny": dict(image_size=64, patch_size=8, hidden_size=128, encoder_layer=3, decoder_layer=3, heads=4, vocab_size=2000, positions=64),
    "small": dict(image_size=128, patch_size=16, hidden_size=256, encoder_layer=6, decoder_layer=4, heads=8, vocab_size=8000, positions=128),
}
TRAIN_DEFAULTS = dict(
    epochs=10, batch_size=32, max_length=32, warmup_fraction=0.05, weight_decay=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8,
    max_grad_norm=1, dropout=0.1, patience=3, learning_rate=1e-3, augment={},
)


def read_config(path):
    config = yaml.safe_load(open(path))
    model = dict(PRESETS[config["model"].get("preset", "tiny")])
    model.update({k: v for k, v in config["model"].items() if v and k != "preset"})
    model.setdefault("mlp_size", 4 * model["hidden_size"])
    train = dict(TRAIN_DEFAULTS, **config.get("train", {}))
    augment = dict(dict(shift=0, scale=0, rotation=0, color=0), **train["augment"])
    evaluate = config.get("evaluate", {})
    length = evaluate.get("max_length") or min(train["max_length"] + 1, model["positions"])
    return model, train, augment, length


# --- data ----------------------------------------------------------------------------------------
def read_split(data, split, side, limit):
    file = json.load(open(os.path.join(data, split + ".json")))
    captions = {a["image_id"]: a["caption"] for a in file["annotations"]}
    images = file["images"][:limit] if limit else file["images"]
    pixels = np.empty((len(images), side, side, 3), np.uint8)
    for i, im in enumerate(images):
        picture = Image.open(os.path.join(data, split, im["file_name"])).convert("RGB")
        pixels[i] = np.asarray(picture.resize((side, side), Image.BILINEAR) if picture.size != (side, side) else picture)
    return pixels, [captions[im["id"]] for im in images], [im.get("group", "") for im in images]


def train_tokenizer(captions, size):
    """The tokenizer that distilvit trains: 256 bytes, merges of pairs seen at least twice, the end token last."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tok.train_from_iterator(captions, trainers.BpeTrainer(vocab_size=size - 1, min_frequency=2, show_progress=False, initial_alphabet=alphabet))
    tok.add_special_tokens([AddedToken(EOT, special=True)])
    return tok


def augment_batch(pixels, a, rng):
    """dataset's augmentation: moved, scaled and turned about the centre, border repeated; then colours. uint8 [N,H,W,3]"""
    n, h, w, _ = pixels.shape
    between = lambda limit: (2 * rng.random(n) - 1) * limit
    dx, dy = between(a["shift"]) * w, between(a["shift"]) * h
    scale, angle = 1 + between(a["scale"]), np.radians(between(a["rotation"]))
    brightness, contrast = 1 + between(a["color"]), 1 + between(a["color"])
    gains = np.stack([1 + between(a["color"]) for _ in range(3)], 1)
    out = pixels
    if a["shift"] or a["scale"] or a["rotation"]:
        sin, cos = (np.sin(angle) / np.maximum(scale, 0.05))[:, None, None], (np.cos(angle) / np.maximum(scale, 0.05))[:, None, None]
        cx, cy = (w - 1) / 2, (h - 1) / 2
        x = np.arange(w)[None, None, :] - cx - dx[:, None, None]
        y = np.arange(h)[None, :, None] - cy - dy[:, None, None]
        u = np.clip(x * cos + y * sin + cx, 0, w - 1)
        v = np.clip(y * cos - x * sin + cy, 0, h - 1)
        left, top = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
        fx, fy = (u - left)[..., None].astype(np.float32), (v - top)[..., None].astype(np.float32)
        right, bottom = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
        i = np.arange(n)[:, None, None]
        upper = pixels[i, top, left] * (1 - fx) + pixels[i, top, right] * fx
        lower = pixels[i, bottom, left] * (1 - fx) + pixels[i, bottom, right] * fx
        out = np.floor(upper * (1 - fy) + lower * fy + 0.5).astype(np.uint8)
    if a["color"]:
        levels = ((np.arange(256) - 127.5)[None, :] * contrast[:, None] + 127.5) * brightness[:, None]  # [N,256]
        table = np.clip(np.floor(levels[:, None, :] * gains[:, :, None] + 0.5), 0, 255).astype(np.uint8)  # [N,3,256]
        out = table[np.arange(n)[:, None, None, None], np.arange(3)[None, None, None, :], out]
    return out


def pixel_values(pixels, device):
    x = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)
    return (x.float() * (1 / 255) - 0.5) / 0.5


def label_batch(ids, eos, longest, device):
    """[N,T]: the caption, the end token, then -100. T is a multiple of 8."""
    rows = [(i + [eos])[:longest] for i in ids]
    labels = torch.full((len(rows), -(-max(map(len, rows)) // 8) * 8), -100)
    for n, row in enumerate(rows):
        labels[n, : len(row)] = torch.tensor(row)
    return labels.to(device)


# --- model ---------------------------------------------------------------------------------------
def build_model(m, vocab, eos, dropout):
    deviation = 0.02 * math.sqrt(768 / m["hidden_size"])  # as distilvit; its config.json says the same
    encoder = ViTConfig(
        initializer_range=deviation, hidden_size=m["hidden_size"], num_hidden_layers=m["encoder_layer"], num_attention_heads=m["heads"], intermediate_size=m["mlp_size"],
        image_size=m["image_size"], patch_size=m["patch_size"], hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )
    decoder = GPT2Config(
        initializer_range=deviation, vocab_size=vocab, n_positions=m["positions"], n_embd=m["hidden_size"], n_layer=m["decoder_layer"], n_head=m["heads"], n_inner=m["mlp_size"],
        embd_pdrop=dropout, attn_pdrop=dropout, resid_pdrop=dropout, add_cross_attention=True, is_decoder=True, bos_token_id=eos, eos_token_id=eos,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = config.bos_token_id = config.eos_token_id = config.pad_token_id = eos
    return VisionEncoderDecoderModel(config)


def loss_sum(model, pixels, labels, start):
    """Sum of cross-entropies over label tokens, and their number. The model's own loss shifts the labels twice."""
    inputs = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], 1)
    inputs = inputs.masked_fill(inputs == -100, start)
    logits = model(pixel_values=pixels, decoder_input_ids=inputs).logits
    total = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    return total, (labels != -100).sum()


def optimizer_of(model, t):
    decayed = [p for n, p in model.named_parameters() if p.ndim > 1 and not n.endswith("bias")]
    rest = [p for n, p in model.named_parameters() if not (p.ndim > 1 and not n.endswith("bias"))]
    groups = [dict(params=decayed, weight_decay=t["weight_decay"]), dict(params=rest, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=t["learning_rate"], betas=(t["beta1"], t["beta2"]), eps=t["epsilon"], fused=True)


# --- evaluation ----------------------------------------------------------------------------------
SCORER = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=True)


def evaluate(model, tok, split, length, eos, device, batch=256):
    pixels, captions, groups = split
    model.eval()
    texts, total, tokens = [], 0.0, 0
    with torch.inference_mode():
        for i in range(0, len(pixels), batch):
            x = pixel_values(pixels[i : i + batch], device)
            labels = label_batch([tok.encode(c).ids for c in captions[i : i + batch]], eos, length - 1, device)
            s, n = loss_sum(model, x, labels, eos)
            total, tokens = total + s.item(), tokens + n.item()
            ids = model.generate(pixel_values=x, max_length=length, num_beams=1, do_sample=False)[:, 1:].tolist()
            texts += [tok.decode(row[: row.index(eos)] if eos in row else row) for row in ids]
    rows = {"all": []}
    for text, caption, group in zip(texts, captions, groups):
        s = SCORER.score(caption, text)
        row = (100 * (text.strip() == caption), 100 * s["rouge1"].fmeasure, 100 * s["rougeL"].fmeasure)
        for name in ["all"] + ([group] if group else []):
            rows.setdefault(name, []).append(row)
    out = {g: dict(zip(["exact_match", "rouge1", "rougeL"], np.mean(r, 0).tolist()), n=len(r)) for g, r in rows.items()}
    out["all"]["loss"] = total / max(tokens, 1)
    return out


# --- one seed ------------------------------------------------------------------------------------
def run_seed(seed, m, t, a, length, splits, tok, args):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    eos, device = tok.token_to_id(EOT), args.device
    model = build_model(m, tok.get_vocab_size(), eos, t["dropout"]).to(device)
    optimizer = optimizer_of(model, t)
    pixels, captions, _ = splits["train"]
    ids = [tok.encode(c).ids for c in captions]
    per_epoch = -(-len(ids) // t["batch_size"])
    steps = per_epoch * t["epochs"]
    warmup = int(t["warmup_fraction"] * steps)
    rate = lambda s: s / warmup if s < warmup else max(0, (steps - s) / max(1, steps - warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    began, best, best_state, since, seen = time.time(), -1.0, None, 0, 0
    for epoch in range(t["epochs"]):
        model.train()
        order, total, tokens = rng.permutation(len(ids)), 0.0, 0
        for i in range(0, len(order), t["batch_size"]):
            rows = order[i : i + t["batch_size"]]
            x = pixel_values(augment_batch(pixels[rows], a, rng), device)
            labels = label_batch([ids[r] for r in rows], eos, t["max_length"], device)
            s, n = loss_sum(model, x, labels, eos)
            (s / n).backward()
            if t["max_grad_norm"]:
                torch.nn.utils.clip_grad_norm_(model.parameters(), t["max_grad_norm"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total, tokens, seen = total + s.item(), tokens + n.item(), seen + len(rows)
        minutes = (time.time() - began) / 60
        last = epoch + 1 == t["epochs"] or args.minutes and minutes > args.minutes
        if (epoch + 1) % args.eval_every and not last:
            continue
        v = evaluate(model, tok, splits["validation"], length, eos, device)["all"]
        print(f"seed {seed} epoch {epoch + 1}: train {total / tokens:.3f} eval {v['loss']:.3f} rougeL {v['rougeL']:.2f} "
              f"{minutes:.1f} min {seen / (time.time() - began):.0f} pictures/s", flush=True)
        if v["rougeL"] > best:
            best, since = v["rougeL"], 0
            best_state = {k: p.detach().clone() for k, p in model.state_dict().items()}
        else:
            since += 1
        if last or t["patience"] and since >= t["patience"]:
            break
    model.load_state_dict(best_state)
    return dict(seed=seed, minutes=(time.time() - began) / 60, epochs=epoch + 1, train_loss=total / tokens, best_eval_rougeL=best,
                test=evaluate(model, tok, splits["test"], length, eos, device))


def summary(results):
    out = {}
    for group in results[0]["test"]:
        for name in ["exact_match", "rouge1", "rougeL"]:
            values = [r["test"][group][name] for r in results]
            error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
            out.setdefault(group, {})[name] = dict(mean=statistics.mean(values), standard_error=error)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--config", default=os.path.join(HERE, "config.yaml"))
    p.add_argument("--data", default=os.path.join(HERE, "data"))
    p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--epochs", type=int, help="instead of the config's")
    p.add_argument("--minutes", type=float, help="end a seed's training at the first epoch after so many; the learning rate still aims at all epochs")
    p.add_argument("--eval-every", type=int, default=1, help="epochs between evaluations")
    p.add_argument("--limit", type=int, help="pictures of each split, to try things out")
    p.add_argument("--out")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    m, t, a, length = read_config(args.config)
    t["epochs"] = args.epochs or t["epochs"]
    splits = {s: read_split(args.data, s, m["image_size"], args.limit) for s in ("train", "validation", "test")}
    tok = train_tokenizer(splits["train"][1], m["vocab_size"])
    longest = max(len(tok.encode(c).ids) + 1 for s in splits.values() for c in s[1])
    print(f"{ {k: len(s[1]) for k, s in splits.items()} }, {tok.get_vocab_size()} tokens, longest caption {longest}", flush=True)
    results = [run_seed(int(s), m, t, a, length, splits, tok, args) for s in args.seeds.split(",")]
    report = json.dumps(dict(model=m, train=t, results=results, summary=summary(results)), indent=1)
    print(report)
    if args.out:
        with open(args.out, "w") as f:
            f.write(report + "\n")


if __name__ == "__main__":
    main()
