"""Makes what `distilvit parity --vectors DIR` compares with, in the layout that
docs/parity.md describes, by running the Python that distilvit stands in for.

    Python 3.11, Java 17
    pip install torch==2.8.0 transformers==4.57.1 tokenizers==0.22.2 numpy==2.4.6 pillow==13.0.0 \
        safetensors==0.8.0 rouge_score==0.1.2 nltk==3.10.4 pycocoevalcap==1.2 pycocotools==2.0.11
    LC_ALL=C.UTF-8 python make_vectors.py DIR

Without options DIR becomes what lies beside this script; --help lists how to make
others. Every caption, picture and weight is drawn from --seed.
"""
import argparse, gzip, importlib.metadata, json, math, os, pathlib, random, shutil, struct, subprocess, threading, unicodedata, zlib

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
END = "<|endoftext|>"


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", type=pathlib.Path, help="where to; its four folders are made anew")
    p.add_argument("--only", default="tokenizers,pictures,models,metrics", help="folders to make, with commas")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--texts", type=int, default=1300, help="strings for each tokenizer")
    p.add_argument("--tokens", type=int, default=600, help="vocabulary of the tokenizers")
    p.add_argument("--side", type=int, default=16, help="of the models' pictures, pixels")
    p.add_argument("--patch", type=int, default=8)
    p.add_argument("--encoder-width", type=int, default=16)
    p.add_argument("--encoder-layers", type=int, default=2)
    p.add_argument("--encoder-heads", type=int, default=2)
    p.add_argument("--decoder-width", type=int, default=20)
    p.add_argument("--decoder-layers", type=int, default=2)
    p.add_argument("--decoder-heads", type=int, default=4)
    p.add_argument("--vocab", type=int, default=48, help="of the models")
    p.add_argument("--end", type=int, default=0, help="eos_token_id and pad_token_id of the models")
    p.add_argument("--start", type=int, default=47, help="decoder_start_token_id of the models")
    p.add_argument("--batch", type=int, default=6, help="pictures of the training vectors; generation has four times as many")
    p.add_argument("--captions", type=int, default=2, help="a picture")
    p.add_argument("--length", type=int, default=12, help="label tokens of a caption at most, end token included")
    p.add_argument("--picture-sizes", type=int, nargs=2, default=(37, 29), metavar=("W", "H"))
    p.add_argument("--processor-sizes", type=int, nargs=2, default=(19, 13), metavar=("W", "H"), help="of the processor that is not square")
    p.add_argument("--examples", type=int, default=60, help="of each file of captions that metrics score")
    p.add_argument("--meteor", type=pathlib.Path, default=HERE / "../../metrics/testdata/meteor",
                   help="METEOR's data, copied into DIR; 'own': the data in pycocoevalcap, which distilvit parity then needs as --meteor-data")
    return p.parse_args()


def write_json(path, value):
    """JSON, compressed if the name says so: the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    if path.suffix != ".gz":
        path.write_text(text, encoding="utf-8")
        return
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
        f.write(text.encode())


# --- tokenizers ---------------------------------------------------------------------------------
SENTENCES = """A dog runs along the beach. Two cats sleep on a red sofa; it's raining. A man isn't riding the horse, he's leading it.
people stand near the old wooden bench in the snowy park. The woman said "we've seen 12 or 13 giraffes". I'll go, they'd stay!
ein Hund läuft über die Straße. собака бежит по пляжу. ビーチを走る犬。 a well-lit black-and-white kitchen (1990s)""".split()
GROUPS = {
    "space": [" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u2003", "\u3000", "\u1680", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\u200b", "\ufeff"],
    "mark": ["\u0301", "\u0308", "\u20e3", "\u0e34", "\u093f", "\u05b0", "\u064b", "\u3099", "\u200d", "\ufe0f"],
    "emoji": ["😀", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "1️⃣", "❤️", "☺", "🫨", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
    "contraction": ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "’s", "''s", "'re's", "'l", "'", "a's'd'll", "know'st"],
    "special": [END, END + END, "<|endoftext|", "<|endoftext>", "|endoftext|>", "<s>", "<unk>", "<mask>", " " + END + " "],
    "digit": ["0", "12", "345678", "3.14", "1,000", "２３", "٣٤", "१२", "½", "²", "Ⅷ", "𝟘", "1st", "a1b2", "12'th"],
    "other": ["!", "...", "?!", "—", "“q”", "#@$%^&*", "\\n", "<br/>", "{}", "€", "\x00", "\x01\x02", "\x7f", "\x80", "\xad", "\ufffd", "\uffff", "\U0010ffff", "\ue000"],
    "word": ["dog", "DOG", "straße", "naïve", "собака", "犬", "강아지", "كلب", "כלב", "कुत्ता", "หมา", "σκύλος", "ძაღლი", "ខ្ឆែ", "𐍈", "𝒟𝑜𝑔", "ǅ", "ﬁ", "Q~Z", "e\u0301"],
}


def odd_texts(rng, count):
    texts = ["", *SENTENCES, " ".join(SENTENCES)]
    for group in GROUPS.values():
        for s in group:
            texts += [s, "a" + s, s + "a", " " + s, s + " ", "a " + s + " b", s * 3]
    for n in (31, 32, 33, 200, 2000):
        texts += ["dog" * n, "犬" * n, "!" * n, " " * n, "9" * n, "".join(rng.choice("abcdehinorst") for _ in range(n))]
    pool = list(GROUPS.values()) + [SENTENCES] * 3
    while len(texts) < count:
        if rng.random() < 0.7:
            texts.append("".join(rng.choice(rng.choice(pool)) + rng.choice(["", "", " "]) for _ in range(rng.randint(2, 10))))
        else:
            limit = rng.choice([0x20, 0x300, 0x3000, 0x10000, 0x20000, 0x110000])
            chars = [chr(rng.randrange(limit)) for _ in range(rng.randint(1, 12))]
            texts.append("".join(c for c in chars if unicodedata.category(c) != "Cs"))
    return list(dict.fromkeys(texts))[:count]


def make_tokenizers(o):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import GPT2TokenizerFast

    rng = random.Random(o.seed)
    lines = [" ".join(rng.choice(SENTENCES) for _ in range(rng.randint(3, 12))) for _ in range(400)]
    lines += [a + b for a in "abcdefghij" for b in SENTENCES]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=o.tokens, show_progress=False, special_tokens=[END], initial_alphabet=alphabet))

    first = o.dir / "tokenizers/end-first"  # tokenizer.json alone, the end token's id 0
    first.mkdir(parents=True)
    tok.save(str(first / "tokenizer.json"))

    last = o.dir / "tokenizers/end-last"  # GPT-2's old files, the end token's id the last one
    last.mkdir(parents=True)
    model = json.loads(tok.to_str())["model"]
    vocab = {t: i - 1 for t, i in model["vocab"].items() if t != END}
    write_json(last / "vocab.json", {**vocab, END: len(vocab)})
    merges = "".join(" ".join(m) + "\n" for m in model["merges"])
    (last / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    gpt2 = GPT2TokenizerFast(vocab_file=str(last / "vocab.json"), merges_file=str(last / "merges.txt"))

    texts = odd_texts(rng, o.texts)
    for dir, t in ((first, tok), (last, gpt2.backend_tokenizer), smollm2(o, lines)):
        size = t.get_vocab_size()
        cases = [{"text": text, "ids": t.encode(text, add_special_tokens=False).ids} for text in texts]
        cases += [{"ids": [rng.randrange(size) for _ in range(rng.randint(1, 12))]} for _ in range(o.texts // 10)]
        cases += [{"ids": [rng.randrange(256) for _ in range(rng.randint(1, 8))]} for _ in range(o.texts // 10)]
        for c in cases:
            c["decoded"] = t.decode(c["ids"], skip_special_tokens=False)
            c["skip_special"] = t.decode(c["ids"], skip_special_tokens=True)
        write_json(dir / "vectors.json.gz", {"cases": cases})


def smollm2(o, lines):
    """As SmolLM and SmolLM2 have it: each digit by itself, several special tokens, of which the first ends texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    special = [END, "<|im_start|>", "<|im_end|>", "<repo_name>"]
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=o.tokens, show_progress=False, special_tokens=special,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    dir = o.dir / "tokenizers/smollm2"
    dir.mkdir(parents=True)
    tok.save(str(dir / "tokenizer.json"))
    return dir, tok


# --- pictures -----------------------------------------------------------------------------------
def scene(rng, w, h):
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([255 * x / max(1, w - 1), 255 * y / max(1, h - 1), 127 + 120 * np.sin(x / 5 + y / 9)], 2)
    a[(x - w * rng.random()) ** 2 + (y - h * rng.random()) ** 2 < (min(w, h) * 0.3) ** 2] = rng.integers(0, 256, 3)
    a[:: max(2, h // 5)] = rng.integers(0, 256, 3)
    return np.clip(a + rng.normal(0, 6, a.shape), 0, 255).astype(np.uint8)


def png(path, w, h, depth, colour, rows, chunks=b""):
    """A PNG of a kind that Pillow does not write."""
    chunk = lambda t, b: struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
                     + b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def write_pictures(out, rng, w, h):
    rgb = Image.fromarray(scene(rng, w, h))
    alpha = Image.fromarray(rng.integers(0, 256, (h, w), dtype=np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    grey, few = rgb.convert("L"), rgb.quantize(13)
    deep = Image.fromarray(rng.integers(0, 700, (h, w), dtype=np.uint16))
    save = lambda name, im, **k: im.save(out / name, **k)

    save("rgb.png", rgb)
    save("rgba.png", rgba)
    save("grey.png", grey)
    save("grey-alpha.png", rgba.convert("LA"))
    save("bilevel.png", rgb.convert("1"))
    save("palette.png", rgb.quantize(200))
    save("palette-few.png", few)
    save("palette-transparent.png", few, transparency=3)
    save("palette-alpha.png", few, transparency=bytes(range(0, 13 * 19, 19)))
    save("grey-16bit.png", deep)
    for depth in (1, 2, 4):
        wide = -(-w * depth // 8)
        png(out / f"grey-{depth}bit.png", w, h, depth, 0, [rng.bytes(wide) for _ in range(h)])
    png(out / "rgb-16bit.png", w, h, 16, 2, [rng.bytes(6 * w) for _ in range(h)])
    png(out / "rgba-16bit.png", w, h, 16, 6, [rng.bytes(8 * w) for _ in range(h)])
    png(out / "grey-alpha-16bit.png", w, h, 16, 4, [rng.bytes(4 * w) for _ in range(h)])
    png(out / "grey-transparent.png", w, h, 8, 0, [rng.bytes(w) for _ in range(h)], [(b"tRNS", b"\0\x09")])
    png(out / "rgb-transparent.png", w, h, 8, 2, [rng.bytes(3 * w) for _ in range(h)], [(b"tRNS", b"\0\1\0\2\0\3")])
    png(out / "gamma.png", w, h, 8, 2, [rng.bytes(3 * w) for _ in range(h)], [(b"gAMA", struct.pack(">I", 45455)), (b"pHYs", struct.pack(">IIB", 100, 200, 1))])
    for a, b in ((1, 1), (1, 90), (90, 1), (2, 2), (700, 3), (3, 700)):
        save(f"rgb-{a}x{b}.png", Image.fromarray(scene(rng, a, b)))
    save("grey-1x1.png", Image.fromarray(scene(rng, 1, 1)).convert("L"))
    save("bilevel-1x1.png", Image.fromarray(scene(rng, 1, 1)).convert("1"))
    exif = Image.Exif()
    exif[274] = 6
    save("turned.png", rgb, exif=exif)

    save("palette.gif", few)
    save("transparent.gif", few, transparency=2)
    save("frames.gif", few, save_all=True, append_images=[Image.new("RGB", few.size, "red")])
    save("rgb.bmp", rgb)
    save("palette.bmp", few)
    save("grey.bmp", grey)
    save("rgb.tiff", rgb)
    save("lzw.tiff", rgba, compression="tiff_lzw")
    save("bilevel.tiff", rgb.convert("1"))
    save("grey-16bit.tiff", deep)
    save("lossless.webp", rgba, lossless=True)
    save("lossy.webp", rgb, quality=60)

    for sub in (0, 1, 2):
        for quality in (35, 92):
            save(f"sub{sub}-q{quality}.jpg", rgb, quality=quality, subsampling=sub)
    save("progressive.jpg", rgb, quality=80, progressive=True)
    save("grey.jpg", grey, quality=85)
    save("cmyk.jpg", rgb.convert("CMYK"), quality=90)
    save("cmyk-progressive.jpg", rgb.convert("CMYK"), quality=70, progressive=True)
    save("restarts.jpg", rgb, quality=75, restart_marker_blocks=2)
    save("turned.jpg", rgb, quality=90, exif=exif)
    for a, b in ((1, 1), (7, 9), (300, 5)):
        save(f"rgb-{a}x{b}.jpg", Image.fromarray(scene(rng, a, b)), quality=90)


def make_pictures(o):
    from transformers import SiglipImageProcessor, ViTImageProcessor

    rng = np.random.default_rng(o.seed)
    out = o.dir / "pictures"
    out.mkdir(parents=True)
    write_pictures(out, rng, *o.picture_sizes)
    w, h = o.processor_sizes
    processors = {
        "square": ViTImageProcessor(size={"height": o.side, "width": o.side}),
        "bicubic": ViTImageProcessor(size={"height": h, "width": w}, resample=3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
        "rescaled": ViTImageProcessor(size={"height": w, "width": h}, rescale_factor=1 / 127.5, image_mean=[1, 0.9, 1.1], image_std=[1, 1, 2]),
        "nearest": ViTImageProcessor(size={"height": 11, "width": 7}, resample=0, do_rescale=False),
        "lanczos": ViTImageProcessor(size={"height": 7, "width": 9}, resample=1, do_normalize=False),
        "box": ViTImageProcessor(size={"height": 9, "width": 8}, resample=4),
        "hamming": ViTImageProcessor(size={"height": 8, "width": 5}, resample=5),
        "siglip": SiglipImageProcessor(size={"height": o.side, "width": o.side}),
    }
    for name, p in processors.items():
        dir = o.dir / "processors" / name
        p.save_pretrained(dir)
        tensors = {}
        for path in sorted(out.iterdir()):
            im = np.asarray(Image.open(path).convert("RGB"))
            resized = p(im, do_rescale=False, do_normalize=False, input_data_format="channels_last", data_format="channels_last").pixel_values[0]
            tensors["resized." + path.name] = torch.from_numpy(np.array(resized, dtype=np.uint8, order="C"))
            if path.name in ("rgb.png", "palette.png", "grey-16bit.png", "rgb-1x1.png"):
                tensors["pixel_values." + path.name] = torch.from_numpy(np.array(p(im, input_data_format="channels_last").pixel_values[0], dtype=np.float32, order="C"))
        save_file(tensors, dir / "vectors.safetensors")


# --- models -------------------------------------------------------------------------------------
def build(o, seed, kind="vit", widths=None, layers=None, end=None, start=None, encoder={}, decoder={}):
    from transformers import (CLIPVisionConfig, DeiTConfig, Dinov2Config, GPT2Config, SiglipVisionConfig, ViTConfig,
                              VisionEncoderDecoderConfig, VisionEncoderDecoderModel)

    torch.manual_seed(seed)
    ew, dw = widths or (o.encoder_width, o.decoder_width)
    el, dl = layers or (o.encoder_layers, o.decoder_layers)
    end, start = o.end if end is None else end, o.start if start is None else start
    kinds = {"vit": ViTConfig, "deit": DeiTConfig, "siglip": SiglipVisionConfig, "clip": CLIPVisionConfig, "dinov2": Dinov2Config}
    if kind == "dinov2":
        encoder = {"mlp_ratio": 3, **encoder}
    e = kinds[kind](
        hidden_size=ew, num_hidden_layers=el, num_attention_heads=o.encoder_heads, intermediate_size=3 * ew,
        image_size=o.side, patch_size=o.patch, **encoder)
    d = GPT2Config(vocab_size=o.vocab, n_positions=3 * o.length, n_embd=dw, n_layer=dl, n_head=o.decoder_heads,
                   bos_token_id=start, eos_token_id=end, **decoder)
    c = VisionEncoderDecoderConfig.from_encoder_decoder_configs(e, d)
    c.decoder_start_token_id, c.pad_token_id, c.eos_token_id = start, end, end
    m = VisionEncoderDecoderModel(config=c)
    m.set_attn_implementation("eager")
    return m.eval()  # no dropout


def build_llava(o, seed, gpt2=False):
    """A SigLIP whose vectors stand before the caption in a Llama, as before a SmolLM2: two heads of queries share one of keys,
    the table is tied; or in a GPT-2 as it is."""
    from transformers import GPT2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

    torch.manual_seed(seed)
    patches, heads = (o.side // o.patch) ** 2, 2 * o.decoder_heads
    vision = SiglipVisionConfig(
        hidden_size=4 * o.encoder_heads, num_hidden_layers=o.encoder_layers, num_attention_heads=o.encoder_heads,
        intermediate_size=12 * o.encoder_heads, image_size=o.side, patch_size=o.patch, vision_use_head=False, tie_last_hidden_states=True)
    text = LlamaConfig(
        vocab_size=o.vocab, hidden_size=2 * heads, intermediate_size=5 * heads, num_hidden_layers=o.decoder_layers,
        num_attention_heads=heads, num_key_value_heads=o.decoder_heads, max_position_embeddings=patches + 3 * o.length,
        bos_token_id=o.start, eos_token_id=o.end, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True)
    if gpt2:
        text = GPT2Config(vocab_size=o.vocab, n_embd=2 * heads, n_layer=o.decoder_layers, n_head=o.decoder_heads,
                          n_positions=patches + 3 * o.length, bos_token_id=o.start, eos_token_id=o.end)
    image = next(i for i in reversed(range(o.vocab)) if i not in (o.start, o.end))  # no word of language()
    m = LlavaForConditionalGeneration(LlavaConfig(
        vision.to_dict(), text.to_dict(), image_token_index=image, image_seq_length=patches, vision_feature_layer=-1,
        vision_feature_select_strategy="full"))
    m.config.bos_token_id = m.config.decoder_start_token_id = o.start
    m.config.eos_token_id = m.config.pad_token_id = o.end
    m.generation_config.update(bos_token_id=o.start, eos_token_id=o.end, pad_token_id=o.end)
    m.set_attn_implementation("eager")
    return m.eval()


def is_llava(m):
    return m.config.model_type == "llava"


def behind_picture(m, ids):
    """Ids [N, T] behind those that the picture's vectors take the place of."""
    return torch.cat([torch.full((len(ids), m.config.image_seq_length), m.config.image_token_index), ids], 1)


def stored(m, name):
    """The name that save_pretrained gives a parameter."""
    if not is_llava(m):
        return name
    for now, then in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."), ("model.", "")):
        if name.startswith(now):
            return then + name.removeprefix(now)
    raise ValueError(name)


def language(o, rng, rows, end):
    """Labels of sentences that say things twice, so that penalties have work."""
    labels = np.full((rows, o.length), -100, dtype=np.int64)
    words = [i for i in range(min(o.vocab, 40)) if i not in (end, o.start)]
    for row in labels:
        n = int(rng.integers(2, o.length))
        row[:n] = rng.choice(words, n)
        row[n // 2 : n] = row[: n - n // 2]
        row[n] = end
    return labels


def pixel_values(pixels):
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def mean_loss(m, x, labels):
    """Logits [B*K, T, V] and the mean cross-entropy of the label tokens. By hand:
    transformers 4.50 to 4.57 shift the labels twice in the loss of this model."""
    y = torch.from_numpy(labels).reshape(-1, labels.shape[-1])
    ids = torch.cat([torch.full((len(y), 1), m.config.decoder_start_token_id), y[:, :-1]], 1)
    ids = ids.masked_fill(ids == -100, m.config.pad_token_id)
    pictures = x.repeat_interleave(len(y) // len(x), 0)
    if is_llava(m):
        logits = m(pixel_values=pictures, input_ids=behind_picture(m, ids)).logits[:, -ids.shape[1]:]
    else:
        logits = m(pixel_values=pictures, decoder_input_ids=ids).logits
    return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100)


def teach(m, x, labels, steps):
    """So that captions end and beams matter: a model of random weights says one token for ever."""
    c = m.config
    widths = (c.vision_config.hidden_size, c.text_config.hidden_size) if is_llava(m) else (c.encoder.hidden_size, c.decoder.n_embd)
    opt = torch.optim.AdamW(m.parameters(), lr=0.2 / max(*widths, 20))
    for _ in range(steps):
        opt.zero_grad()
        mean_loss(m, x, labels)[1].backward()
        opt.step()


def ten_steps(m, x, labels):
    """AdamW as transformers' Trainer sets it up."""
    from transformers import get_linear_schedule_with_warmup
    from transformers.trainer_pt_utils import get_parameter_names

    t = dict(steps=10, learning_rate=1e-3, weight_decay=0.05, beta1=0.9, beta2=0.999, epsilon=1e-8, max_grad_norm=1.0, warmup_steps=3, total_steps=14)
    forbidden = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
    decayed = get_parameter_names(m, [torch.nn.LayerNorm], forbidden)
    groups = [{"params": [p for n, p in m.named_parameters() if n in decayed], "weight_decay": t["weight_decay"]},
              {"params": [p for n, p in m.named_parameters() if n not in decayed], "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, lr=t["learning_rate"], betas=(t["beta1"], t["beta2"]), eps=t["epsilon"])
    schedule = get_linear_schedule_with_warmup(opt, t["warmup_steps"], t["total_steps"])
    t["each"] = []
    for _ in range(t["steps"]):
        rate = schedule.get_last_lr()[0]
        opt.zero_grad()
        loss = mean_loss(m, x, labels)[1]
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(m.parameters(), t["max_grad_norm"])
        opt.step()
        schedule.step()
        t["each"].append({"loss": float(loss.detach()), "grad_norm": float(norm), "learning_rate": rate})
    return t


def searches(o):
    longest = min(3 * o.length, 20)
    yield {}  # what generation_config.json says
    yield {"num_beams": 1}
    yield {"num_beams": 1, "min_length": 6}
    yield {"num_beams": 1, "no_repeat_ngram_size": 2, "min_length": 8}
    yield {"num_beams": 1, "repetition_penalty": 1.4, "max_length": 9}
    for penalty in (1.0, 0.0, 2.0, -1.0):
        for early in (False, True, "never"):
            yield {"num_beams": 4, "length_penalty": penalty, "early_stopping": early, "max_length": longest}
    yield {"num_beams": 3, "no_repeat_ngram_size": 2, "max_length": longest}
    yield {"num_beams": 3, "repetition_penalty": 1.3, "min_length": 7, "max_length": longest}


def behind_picture_options(options):
    """Lengths that count neither the picture nor the start token, as transformers counts them there."""
    lengths = {k: v for k, v in options.items() if k in ("min_length", "max_length")}
    return {k: v for k, v in options.items() if k not in lengths} | {k[:3] + "_new_tokens": v - 1 for k, v in lengths.items()}


def generate(m, x, options):
    end = m.config.eos_token_id
    if is_llava(m):
        ids = behind_picture(m, torch.full((len(x), 1), m.config.bos_token_id))
        rows = m.generate(pixel_values=x, input_ids=ids, do_sample=False, **behind_picture_options(options))[:, ids.shape[1]:].tolist()
    else:
        rows = m.generate(pixel_values=x, do_sample=False, **options)[:, 1:].tolist()
    return [r[: r.index(end) + 1] if end in r else r for r in rows]


def has_gradient(m):
    return {stored(m, n): p for n, p in m.named_parameters() if p.grad is not None}


def write_model(o, name, m, rng, search=False, dtype=None, train=True, weights=False, **how):
    dir = o.dir / "models" / name
    many = rng.integers(0, 256, (4 * o.batch, o.side, o.side, 3), dtype=np.uint8)
    pixels = many[: o.batch]
    end = m.config.eos_token_id
    teach(m, pixel_values(many), language(o, rng, len(many), end), 28)
    if dtype:
        m.to(dtype)
    if search:
        length = behind_picture_options({"max_length": 15}) if is_llava(m) else {"max_length": 15}
        m.generation_config.update(num_beams=2, length_penalty=0.7, **length)
    m.save_pretrained(dir, **how)
    m.to(torch.float32)  # what was rounded for the file is computed with as float32
    labels = language(o, rng, o.batch * o.captions, end).reshape(o.batch, o.captions, o.length)
    labels[-1, -1] = -100  # a caption that is missing
    tensors = {"pixels": torch.from_numpy(pixels), "labels": torch.from_numpy(labels)}
    x = pixel_values(pixels)
    m.zero_grad()
    logits, loss = mean_loss(m, x, labels)
    tensors["logits"] = logits.detach().unflatten(0, (o.batch, o.captions))
    tensors["loss"] = loss.detach()
    if weights:
        tensors.update({"weight." + stored(m, n): p.detach().clone() for n, p in m.named_parameters() if "pooler" not in n})
    vectors = {}
    if search:
        tensors["generate.pixels"] = torch.from_numpy(many)
        some = list(searches(o))[:: 3 if is_llava(m) else 1]  # a graph is compiled for most of them
        vectors["generate"] = [{"options": s, "ids": generate(m, pixel_values(many), s)} for s in some]
    if train:
        loss.backward()
        tensors.update({"grad." + n: p.grad.clone() for n, p in has_gradient(m).items()})
        vectors["training"] = ten_steps(m, x, labels)
        tensors.update({"after." + n: p.detach() for n, p in has_gradient(m).items()})
    save_file({n: t.contiguous() for n, t in tensors.items()}, dir / "vectors.safetensors")
    write_json(dir / "vectors.json", vectors)


def make_models(o):
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    rng = np.random.default_rng(o.seed)
    last = o.vocab - 1
    both = math.lcm(o.encoder_heads, o.decoder_heads)  # a width for either number of heads
    same, narrow = (max(1, o.decoder_width // both) * both,) * 2, (o.encoder_heads * 4, o.decoder_heads * 3)
    write_model(o, "main", build(o, o.seed), rng, search=True)
    untied = build(o, o.seed + 1, "deit", same, (1, 1), last, last, {"hidden_act": "gelu_new"}, {"tie_word_embeddings": False, "activation_function": "gelu"})
    write_model(o, "deit-untied", untied, rng)
    small = dict(train=False, weights=True)
    write_model(o, "bf16-sharded", build(o, o.seed + 2, widths=narrow), rng, dtype=torch.bfloat16, max_shard_size="10KB", **small)
    half = build(o, o.seed + 3, widths=narrow, encoder={"qkv_bias": False}, decoder={"scale_attn_by_inverse_layer_idx": True})
    write_model(o, "fp16", half, rng, dtype=torch.float16, **small)
    for i, kind in enumerate(("siglip", "clip", "dinov2")):
        write_model(o, kind, build(o, o.seed + 4 + i, kind, narrow, (1, 1)), rng)
    write_model(o, "siglip-llama", build_llava(o, o.seed + 7), rng, search=True, weights=True)
    write_model(o, "siglip-gpt2", build_llava(o, o.seed + 8, gpt2=True), rng, search=True, weights=True)


# --- metrics ------------------------------------------------------------------------------------
WHO = "man|woman|boy|little girl|group of people|baseball player|surfer|dog|black cat|two zebras|herd of cows|giraffe|bus|train|airplane|bicycle|stop sign|clock tower".split("|")
DOES = "standing|sitting|walking|riding a wave|playing a game of tennis|holding an umbrella|eating a sandwich|looking at the camera|parked|flying|laying down".split("|")
WHERE = "on a beach|in the street|next to a tree|on top of a wooden table|in front of a building|near the ocean|at night|in a kitchen|by a river".split("|")
SAME = [("man", "guy"), ("woman", "lady"), ("boy", "child"), ("street", "road"), ("bicycle", "bike"), ("sitting", "sits"), ("airplane", "plane"),
        ("next to", "beside"), ("in front of", "before"), ("on top of", "atop"), ("near", "close to"), ("laying", "lying"), ("group of people", "crowd")]
ODD = ["dog", "A", "cat.", "...", '"', "a a a a a", "I.", "A letter C.", "It's a dog's life.", "They can't, won't and don't stop", 'A sign that says "STOP" (in red).',
       "“Curly quotes” and ‘these’ too", "A café in São Paulo, 10:30 a.m.", "$5.00 for 1 1/2 pizzas & 2 cokes", "1,000 people at 7-Eleven #1", "A U.S. Air Force F-16 jet.",
       "Mr. and Mrs. Smith's cake", "a man/woman in a t-shirt w/ a smile :)", "日本 の 犬", "a dog 🐕 and a ☕", "Straße naïve", "this isn't a cat -- it's a dog; really?!",
       "kitchen, bathroom , and bedroom .", "a [square] http://example.com/a.jpg", "gonna cannot 'tis rock 'n' roll", "e.g. a dog, i.e. a pet", "50% off!", "x" * 60]


def reword(rng, text):
    for a, b in rng.sample(SAME, 5):
        text = text.replace(a, b)
    words = text.split(" ")
    for _ in range(rng.randint(0, 3)):
        i = rng.randrange(len(words))
        if rng.random() < 0.5 and len(words) > 1:
            del words[i]
        else:
            words.insert(i, rng.choice("very the a large red white two three her his people's".split()))
    return " ".join(words) + rng.choice(["", "", ".", " .", "!"])


def example(rng, odd):
    text = f"A {rng.choice(WHO)} {rng.choice(DOES)} {rng.choice(WHERE)}"
    pick = lambda: rng.choice(ODD) if rng.random() < odd else reword(rng, text)
    caption = pick()
    ids = [rng.randrange(1, 50) for _ in range(rng.randint(1, 15))]
    return {"caption": caption, "references": [pick() for _ in range(rng.choice([1, 2, 5, 5]))], "token_ids": ids}


def meteor_scorer(data):
    from pycocoevalcap.meteor import meteor

    class WithData(meteor.Meteor):
        def __init__(self):
            self.meteor_cmd = ["java", "-jar", "-Xmx2G", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm",
                               "-s", f"{data}/function/english.words", "-d", f"{data}/synonym", "-a", f"{data}/data/paraphrase-en.gz"]
            self.meteor_p = subprocess.Popen(self.meteor_cmd, cwd=os.path.dirname(os.path.abspath(meteor.__file__)),
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.lock = threading.Lock()

    return WithData() if data else meteor.Meteor()


def score(examples, meteor):
    """Puts each example's scores into it, and gives those of all together."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    from rouge_score import rouge_scorer

    words = lambda lists: PTBTokenizer().tokenize({i: [{"caption": c} for c in texts] for i, texts in enumerate(lists)})
    references, captions = words([e["references"] for e in examples]), words([[e["caption"]] for e in examples])
    bleu, bleus = Bleu(4).compute_score(references, captions, verbose=0)
    cider, ciders = Cider().compute_score(references, captions)
    rouge, rouges = Rouge().compute_score(references, captions)
    meteor, meteors = meteor.compute_score(references, captions)
    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = rouge_scorer.RougeScorer(types, use_stemmer=True)
    for i, e in enumerate(examples):
        best = scorer.score_multi(e["references"], e["caption"])
        e["scores"] = {t: float(best[t].fmeasure) for t in types}
        e["scores"] |= {f"bleu{n + 1}": bleus[n][i] for n in range(4)} | {"cider": float(ciders[i]), "rougeL_coco": float(rouges[i]), "meteor": meteors[i]}
    all = {t: float(np.mean([e["scores"][t] for e in examples])) for t in types}
    all |= {f"bleu{n + 1}": bleu[n] for n in range(4)} | {"cider": float(cider), "rougeL_coco": float(rouge), "meteor": meteor}
    return all | {"gen_len": float(np.mean([len(e["token_ids"]) for e in examples]))}


def make_metrics(o):
    out, data = o.dir / "metrics", None
    if str(o.meteor) != "own":
        data = (out / "meteor").absolute()
        shutil.copytree(o.meteor, data)
    meteor = meteor_scorer(data)
    rng = random.Random(o.seed)
    for name, odd in (("captions", 0.05), ("odd", 0.6)):
        examples = [example(rng, odd) for _ in range(o.examples)]
        all = score(examples, meteor)
        write_json(out / f"{name}.json.gz", {"examples": examples, "scores": all})


def main():
    o = options()
    makers = {"tokenizers": make_tokenizers, "pictures": make_pictures, "models": make_models, "metrics": make_metrics}
    for name in o.only.split(","):
        for folder in (name, "processors") if name == "pictures" else (name,):
            shutil.rmtree(o.dir / folder, ignore_errors=True)
        makers[name](o)
    packages = ["torch", "transformers", "tokenizers", "pillow", "numpy", "safetensors", "rouge_score", "pycocoevalcap"]
    write_json(o.dir / "vectors.json", {"made_with": {p: importlib.metadata.version(p) for p in packages}})


main()
