"""Makes the golden vectors of model and model/train from PyTorch and
transformers: python make_golden.py [same differ seed] (torch 2.8.0,
transformers 4.57.1, tokenizers 0.22.2).

Each folder holds a model in Hugging Face's form, golden.json (inputs, loss,
greedy ids) and golden.safetensors (logits, and in `same` gradients, and
weights after ten steps of AdamW). `seed` has captions, and labels and loss as
mozilla/distilvit's train.py makes them (see docs/compat.md)."""
import base64, json, os, pathlib, sys

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, PreTrainedTokenizerFast, ViTConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

B, K, T, SIDE, VOCAB, END = 3, 2, 8, 16, 40, 39
HERE = pathlib.Path(__file__).parent


def build(enc, dec):
    torch.manual_seed(1)
    e = ViTConfig(hidden_size=enc, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * enc, image_size=SIDE, patch_size=8)
    d = GPT2Config(vocab_size=VOCAB, n_positions=16, n_embd=dec, n_layer=2, n_head=4, n_inner=2 * dec, bos_token_id=END, eos_token_id=END)
    c = VisionEncoderDecoderConfig.from_encoder_decoder_configs(e, d)
    c.decoder_start_token_id = c.pad_token_id = c.eos_token_id = END
    m = VisionEncoderDecoderModel(config=c)
    m.set_attn_implementation("eager")
    return m.eval()  # no dropout


def inputs():
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (B, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.full((B, K, T), -100, dtype=np.int64)
    for i in range(B):
        for k in range(K):
            n = int(rng.integers(2, T - 1))
            labels[i, k, :n] = rng.integers(0, END, n) if k == 0 else labels[i, 0, 0]
            labels[i, k, n] = END
    labels[B - 1, K - 1] = -100  # a caption that is missing
    return pixels, labels


def forward(m, pixels, labels):
    """Logits of every caption, and the sum of the loss over label tokens. Not
    the model's own loss: transformers 4.57.1 shifts the labels twice."""
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    enc = m.encoder(torch.from_numpy(x).permute(0, 3, 1, 2)).last_hidden_state
    if hasattr(m, "enc_to_dec_proj"):
        enc = m.enc_to_dec_proj(enc)
    enc = enc.repeat_interleave(K, 0)
    y = torch.from_numpy(labels).reshape(B * K, T)
    ids = torch.cat([torch.full((B * K, 1), END), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, END)
    logits = m.decoder(input_ids=ids, encoder_hidden_states=enc).logits
    return logits, torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB), y.reshape(-1), ignore_index=-100, reduction="sum")


def names(m):
    return {n: p for n, p in m.named_parameters() if not n.startswith("encoder.pooler")}


def adamw(m, lr):
    decay = [p for p in names(m).values() if p.ndim > 1]
    rest = [p for p in names(m).values() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-8)


# As people write them: blanks at the end, a line break, and captions whose
# tokens end before, at and behind the 128 that the script pads to.
CAPTIONS = [
    ["A man riding a wave on top of a surfboard. ", "A surfer\n", "a" * 127],
    ["Two  dogs, café: 🐶🐶!", "b" * 128, "c d " * 90],
]


def seed_tokenizer():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    texts = [c for captions in CAPTIONS for c in captions if "aaa" not in c and "bbb" not in c]
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    end = "<|endoftext|>"
    t = PreTrainedTokenizerFast(tokenizer_object=t, bos_token=end, eos_token=end, unk_token=end)
    t.pad_token = t.eos_token
    return t


def seed_labels(t, captions):
    """padding="max_length" without truncation, and a collator that cuts."""
    return [ids[:128] for ids in t(captions, padding="max_length", max_length=128).input_ids]


def seed():
    t = seed_tokenizer()
    end, per_picture = t.eos_token_id, len(CAPTIONS[0])
    torch.manual_seed(4)
    e = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=SIDE, patch_size=8)
    d = GPT2Config(vocab_size=len(t), n_positions=128, n_embd=16, n_layer=1, n_head=2, n_inner=32, bos_token_id=end, eos_token_id=end)
    c = VisionEncoderDecoderConfig.from_encoder_decoder_configs(e, d)
    c.decoder_start_token_id = c.pad_token_id = c.eos_token_id = end
    m = VisionEncoderDecoderModel(config=c)
    m.set_attn_implementation("eager")
    m.eval()
    out = HERE / "seed"
    m.save_pretrained(out)
    t.save_pretrained(out)
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        (out / name).unlink(missing_ok=True)
    pixels = np.random.default_rng(6).integers(0, 256, (len(CAPTIONS), SIDE, SIDE, 3), dtype=np.uint8)
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    x = torch.from_numpy(x).permute(0, 3, 1, 2).repeat_interleave(per_picture, 0)
    labels = torch.tensor([row for captions in CAPTIONS for row in seed_labels(t, captions)])

    def forward():
        answer = m(pixel_values=x, labels=labels)
        aligned = torch.nn.functional.cross_entropy(answer.logits.reshape(-1, len(t)), labels.reshape(-1))
        # What transformers 4.50 to 4.57 say instead: labels shifted once more.
        twice = torch.nn.functional.cross_entropy(answer.logits[:, :-1].reshape(-1, len(t)), labels[:, 1:].reshape(-1))
        assert torch.isclose(answer.loss, twice), "another version of transformers: its loss is to be looked at"
        return aligned, twice

    opt = adamw(m, 2e-3)
    steps = []
    for step in range(3):
        opt.zero_grad()
        loss, twice = forward()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(names(m).values()), 1.0)
        opt.step()
        steps.append({"loss": float(loss), "loss_shifted_twice": float(twice), "grad_norm": float(norm)})
    golden = {
        "pictures": len(CAPTIONS), "captions": CAPTIONS, "pixels": base64.b64encode(pixels.tobytes()).decode(),
        "labels": labels.tolist(), "steps": steps,
    }
    (out / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    save_file({"after." + n: p.detach().clone().contiguous() for n, p in names(m).items()}, out / "golden.safetensors")


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["same", "differ", "seed"]
    if "seed" in wanted:
        seed()
    for name, enc, dec in (("same", 16, 16), ("differ", 24, 16)):
        if name not in wanted:
            continue
        m = build(enc, dec)
        pixels, labels = inputs()
        tokens = int((labels >= 0).sum())
        teach = labels[:, :1].repeat(K, 1)  # one caption a picture, so that it can be learnt
        opt = adamw(m, 1e-2)
        for _ in range(60):
            opt.zero_grad()
            _, loss = forward(m, pixels, teach)
            (loss / (teach >= 0).sum()).backward()
            opt.step()
        out = HERE / name
        m.save_pretrained(out)
        os.remove(out / "generation_config.json")

        x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
        ids = m.generate(pixel_values=torch.from_numpy(x).permute(0, 3, 1, 2), max_length=12, num_beams=1, do_sample=False)
        greedy = []
        for row in ids[:, 1:].tolist():
            greedy.append(row[: row.index(END) + 1] if END in row else row)
        logits, loss = forward(m, pixels, labels)
        tensors = {"logits": logits.detach().contiguous()}
        golden = {
            "pictures": B, "captions": K, "tokens": T, "label_tokens": tokens, "max_length": 12,
            "pixels": base64.b64encode(pixels.tobytes()).decode(), "labels": labels.reshape(-1).tolist(),
            "loss_sum": float(loss), "greedy": greedy,
        }
        if name == "same":
            m.zero_grad()
            (loss / tokens).backward()
            for n, p in names(m).items():
                tensors["grad." + n] = p.grad.clone().contiguous()
            opt = adamw(m, 0.0)
            golden["steps"] = []
            for step in range(10):  # linear warm-up of 3 steps to 2e-3, linear decay to 0 at step 20
                lr = 2e-3 * (step / 3 if step < 3 else (20 - step) / 17)
                for g in opt.param_groups:
                    g["lr"] = lr
                opt.zero_grad()
                _, loss = forward(m, pixels, labels)
                (loss / tokens).backward()
                norm = torch.nn.utils.clip_grad_norm_(list(names(m).values()), 0.5)
                opt.step()
                golden["steps"].append({"loss_sum": float(loss), "grad_norm": float(norm), "learning_rate": lr})
            for n, p in names(m).items():
                tensors["after." + n] = p.detach().clone().contiguous()
        save_file(tensors, out / "golden.safetensors")
        (out / "golden.json").write_text(json.dumps(golden) + "\n")


main()
