"""Makes the golden vectors of generation from PyTorch and transformers: python
make_generate.py (torch 2.8.0, transformers 4.57.1).

Writes search/: a model in Hugging Face's form, half trained so that its captions
hesitate, and golden.json: pictures, and for many sets of options the ids that
generate() answers, without the start token, up to and with the end token."""
import base64, itertools, json, os, pathlib

import numpy as np
import torch
from transformers import GPT2Config, ViTConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

PICTURES, SIDE, VOCAB, END, START, LENGTH = 24, 16, 48, 0, 47, 14
HERE = pathlib.Path(__file__).parent


def build():
    torch.manual_seed(3)
    e = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=SIDE, patch_size=8)
    d = GPT2Config(vocab_size=VOCAB, n_positions=24, n_embd=24, n_layer=2, n_head=2, n_inner=48, bos_token_id=START, eos_token_id=END)
    c = VisionEncoderDecoderConfig.from_encoder_decoder_configs(e, d)
    c.decoder_start_token_id, c.pad_token_id, c.eos_token_id = START, END, END
    m = VisionEncoderDecoderModel(config=c)
    m.set_attn_implementation("eager")
    return m.eval()


def captions(rng):
    """Sentences of a small language with repeats, so that penalties have work."""
    labels = np.full((PICTURES, LENGTH), -100, dtype=np.int64)
    for row in labels:
        n = int(rng.integers(3, LENGTH - 1))
        words = rng.integers(1, 12, n)
        words[n // 2 :] = words[: n - n // 2]  # says it again
        row[:n], row[n] = words, END
    return labels


def train(m, x, labels):
    y = torch.from_numpy(labels)
    ids = torch.cat([torch.full((PICTURES, 1), START), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, END)
    opt = torch.optim.AdamW(m.parameters(), lr=1e-2)
    for _ in range(28):
        opt.zero_grad()
        logits = m(pixel_values=x, decoder_input_ids=ids).logits
        torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB), y.reshape(-1), ignore_index=-100).backward()
        opt.step()


def options():
    yield {"num_beams": 1}
    yield {"num_beams": 1, "min_length": 6}
    yield {"num_beams": 1, "no_repeat_ngram_size": 1}
    yield {"num_beams": 1, "no_repeat_ngram_size": 2, "min_length": 8}
    yield {"num_beams": 1, "repetition_penalty": 1.4}
    yield {"num_beams": 1, "repetition_penalty": 0.8, "max_length": 7}
    for beams, penalty, early in itertools.product((2, 4, 5), (1.0, 0.0, 2.0, -1.0), (False, True, "never")):
        yield {"num_beams": beams, "length_penalty": penalty, "early_stopping": early}
    yield {"num_beams": 3, "min_length": 7}
    yield {"num_beams": 3, "no_repeat_ngram_size": 2}
    yield {"num_beams": 4, "no_repeat_ngram_size": 3, "repetition_penalty": 1.3, "length_penalty": 0.6, "early_stopping": True}
    yield {"num_beams": 4, "repetition_penalty": 1.2, "min_length": 4, "max_length": 9}


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (PICTURES, SIDE, SIDE, 3), dtype=np.uint8)
    x = torch.from_numpy(((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)).permute(0, 3, 1, 2)
    m = build()
    train(m, x, captions(rng))
    out = HERE / "search"
    m.save_pretrained(out)
    os.remove(out / "generation_config.json")
    cases = []
    for o in options():
        o = {"max_length": 16, **o}
        rows = m.generate(pixel_values=x, do_sample=False, **o)[:, 1:].tolist()
        cases.append({"options": o, "ids": [r[: r.index(END) + 1] if END in r else r for r in rows]})
    golden = {"pictures": PICTURES, "pixels": base64.b64encode(pixels.tobytes()).decode(), "cases": cases}
    (out / "golden.json").write_text(json.dumps(golden) + "\n")


main()
