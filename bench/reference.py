"""The Python side of the benchmarks: what a recipe of PyTorch, transformers and Pillow costs for the same work.

    reference.py train [--pictures 4] [--captions 1] [--tokens 16] [--recipe] [--steps 5] [--warmup 2] [--device cuda]
                       [--precision tf32|bf16] [--compile]
    reference.py caption [--batch 8] [--tokens 20] [--rounds 5]
    reference.py prepare DIRECTORY [--rounds 5]
    reference.py stored DIRECTORY
    reference.py pictures DIRECTORY

Prints JSON objects, one a line, of the same keys as `distilvit bench -o json`. Random weights of ViT-base/16-224 and
DistilGPT2. pictures writes 64 JPEG files of 640 x 480 made of the photographs that scikit-image and scikit-learn carry.
"""
import argparse
import glob
import io
import json
import os
import random
import resource
import statistics
import time

import numpy as np


def measure(rounds, warmup, work, wait=lambda: None):
    """Medians of CPU and wall seconds of work's rounds, and the seconds of the first. wait returns when the device is done."""
    cpus, walls = [], []
    for _ in range(warmup + rounds):
        r = resource.getrusage(resource.RUSAGE_SELF)
        used, begun = r.ru_utime + r.ru_stime, time.perf_counter()
        work()
        wait()
        walls.append(time.perf_counter() - begun)
        r = resource.getrusage(resource.RUSAGE_SELF)
        cpus.append(r.ru_utime + r.ru_stime - used)
    return dict(rounds=rounds, cpu_s=statistics.median(cpus[warmup:]), wall_s=statistics.median(walls[warmup:]), first_cpu_s=cpus[0], first_wall_s=walls[0],
                peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def report(units, unit, measured, **what):
    measured.update(what, unit=unit, per_cpu_s=units / measured["cpu_s"])
    print(json.dumps(measured), flush=True)


def captioner():
    """ViT-base/16-224 and DistilGPT2 with cross-attention, Hugging Face's dropouts: none in the encoder, 0.1 in the decoder."""
    import torch
    from transformers import GPT2Config, ViTConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel
    torch.manual_seed(0)
    decoder = GPT2Config(n_layer=6, add_cross_attention=True, is_decoder=True)
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), decoder))
    for c in (model.config, model.config.decoder, model.generation_config):
        c.decoder_start_token_id = c.bos_token_id = c.eos_token_id = c.pad_token_id = 50256
    return model


def train(a):
    """A step of transformers' Trainer: forward, backward, clipping by norm 1, fused AdamW, float32. A picture is encoded for each
    of its captions, as the recipe does; with --recipe captions are padded to 128 tokens and the padding counts, as there."""
    import torch
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = a.precision == "tf32"
    model = captioner().train().to(a.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    rng = torch.Generator().manual_seed(1)
    rows, tokens = a.pictures * a.captions, 128 if a.recipe else a.tokens
    pixels = torch.rand(rows, 3, 224, 224, generator=rng) * 2 - 1
    labels = torch.randint(0, 50256, (rows, tokens), generator=rng)
    for row in labels:
        length = min(tokens, 10 + int(torch.randint(0, 6, (1,), generator=rng)))
        row[length - 1] = 50256
        row[length:] = 50256 if a.recipe else -100

    pixels, labels = pixels.to(a.device), labels.to(a.device)
    forward = torch.compile(model) if a.compile else model

    def step():
        with torch.autocast(a.device, torch.bfloat16, enabled=a.precision == "bf16"):
            loss = forward(pixel_values=pixels, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    wait = torch.cuda.synchronize if a.device == "cuda" else lambda: None
    report(rows, "captions", measure(a.steps, a.warmup, step, wait), bench="train", work="training step", preset="base",
           pictures=a.pictures, captions=a.captions, tokens=tokens)


def caption(a):
    """transformers' generate, greedy, with cached keys and values, to exactly so many tokens."""
    import torch
    model = captioner().eval()
    pixels = torch.rand(a.batch, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def generate():
        with torch.no_grad():
            ids = model.generate(pixels, max_new_tokens=a.tokens, min_new_tokens=a.tokens, num_beams=1, do_sample=False)
        assert ids.shape == (a.batch, a.tokens + 1), ids.shape

    report(a.batch, "captions", measure(a.rounds, a.warmup, generate), bench="caption", work="greedy captions", preset="base",
           pictures=a.batch, captions=1, tokens=a.tokens)


def prepare(a):
    """Pillow's decoder and ViTImageProcessor, one thread."""
    from PIL import Image
    from transformers import ViTImageProcessor
    processor = ViTImageProcessor(size=dict(height=224, width=224), resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    files = [open(f, "rb").read() for f in sorted(glob.glob(os.path.join(a.directory, "*.jpg")))]

    def work():
        for f in files:
            processor(Image.open(io.BytesIO(f)).convert("RGB"), return_tensors="np")

    report(len(files), "pictures", measure(a.rounds, a.warmup, work), bench="prepare", work="decode and resize", pictures=len(files))


def stored(a):
    """Bytes of a picture with five captions as datasets stores the recipe's rows: float32 pixels and 128 labels for each caption."""
    import tempfile
    import datasets
    side, captions = 224, 5
    features = datasets.Features(pixel_values=datasets.Array3D((3, side, side), "float32"), labels=datasets.Sequence(datasets.Value("int64")))
    rows = 40

    def row(_):
        return dict(pixel_values=np.zeros((3, side, side), np.float32), labels=[50256] * 128)

    with tempfile.TemporaryDirectory() as directory:
        made = datasets.Dataset.from_list([row(i) for i in range(rows)], features=features)
        made.save_to_disk(directory, num_proc=None)
        size = sum(os.path.getsize(f) for f in glob.glob(os.path.join(directory, "*.arrow")))
    print(json.dumps(dict(bench="prepare", work="store", bytes_per_picture=captions * size / rows)))


def pictures(a):
    """64 everyday photographs as COCO has them: crops of 640 x 480, JPEG of quality 90."""
    import skimage
    import sklearn.datasets
    from PIL import Image
    here = os.path.join(os.path.dirname(skimage.__file__), "data")
    there = os.path.join(os.path.dirname(sklearn.datasets.__file__), "images")
    names = [os.path.join(here, n) for n in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg")]
    names += [os.path.join(there, n) for n in ("china.jpg", "flower.jpg")]
    photographs, rnd = [Image.open(n).convert("RGB") for n in names], random.Random(3)
    os.makedirs(a.directory, exist_ok=True)
    for i in range(64):
        image = photographs[i % len(photographs)]
        w, h = image.size
        width = int(min(w, h * 4 / 3) * rnd.uniform(0.55, 1))
        height = width * 3 // 4
        x, y = rnd.randint(0, w - width), rnd.randint(0, h - height)
        crop = image.crop((x, y, x + width, y + height)).resize((640, 480), Image.LANCZOS)
        if i % 2:
            crop = crop.transpose(Image.FLIP_LEFT_RIGHT)
        crop.save(os.path.join(a.directory, f"{i:03d}.jpg"), quality=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("train")
    p.set_defaults(run=train)
    for name, default in (("pictures", 4), ("captions", 1), ("tokens", 16), ("steps", 5), ("warmup", 2)):
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--recipe", action="store_true")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--precision", default="float32", choices=["float32", "tf32", "bf16"])
    p.add_argument("--compile", action="store_true")
    p = commands.add_parser("caption")
    p.set_defaults(run=caption)
    for name, default in (("batch", 8), ("tokens", 20), ("rounds", 5), ("warmup", 1)):
        p.add_argument("--" + name, type=int, default=default)
    for name, run in (("prepare", prepare), ("stored", stored), ("pictures", pictures)):
        p = commands.add_parser(name)
        p.set_defaults(run=run)
        p.add_argument("directory")
        p.add_argument("--rounds", type=int, default=5)
        p.add_argument("--warmup", type=int, default=1)
    a = parser.parse_args()
    a.run(a)


if __name__ == "__main__":
    main()
