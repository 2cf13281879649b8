"""Makes the golden vectors of captioners whose picture stands before the caption from PyTorch and transformers:
python make_llava.py (torch 2.8.0, transformers 4.57.1).

Each folder of llava/ holds a LlavaForConditionalGeneration as save_pretrained writes it, golden.json (inputs, loss, ids
of greedy and beam search) and golden.safetensors (logits, gradients, and weights after ten steps of AdamW): `siglip` a
SigLIP and a Llama of two heads of keys for four of queries, table tied; `clip` a CLIP whose last layer and class token
are left out, and a Llama with biases, RoPE scaled as Llama 3's, heads wider than their share and an output layer; `prompt` the
first with a prompt behind the start token, which the loss leaves out; `shuffle` a SmolVLMForConditionalGeneration whose 4 × 4
patches become 2 × 2 vectors; `gpt2` and `gpt2-shuffle` have a GPT-2 in the Llama's place, the second with a prompt, scores scaled
by layer, wider MLPs and an output layer. Tensors of golden.safetensors have the names of a LLaVA's file."""
import base64, json, os, pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (CLIPVisionConfig, GPT2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig,
                          SmolVLMConfig, SmolVLMForConditionalGeneration)

B, K, T, SIDE, VOCAB, END, IMAGE = 3, 2, 8, 16, 40, 39, 0
HERE = pathlib.Path(__file__).parent / "llava"


def siglip():
    vision = SiglipVisionConfig(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, image_size=SIDE, patch_size=8,
                                vision_use_head=False, tie_last_hidden_states=True)
    text = LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=28, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                       max_position_embeddings=64, bos_token_id=END, eos_token_id=END, tie_word_embeddings=True)
    return LlavaConfig(vision.to_dict(), text.to_dict(), image_token_index=IMAGE, image_seq_length=4, vision_feature_layer=-1,
                       vision_feature_select_strategy="full")


def prompt():
    config = siglip()
    config.prompt_ids = [7, 21, 3]  # no key of transformers'
    return config


def clip():
    vision = CLIPVisionConfig(hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=20, image_size=SIDE, patch_size=8)
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    text = LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=28, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
                       head_dim=8, max_position_embeddings=64, bos_token_id=END, eos_token_id=END, rope_scaling=scaling,
                       rope_theta=500.0, attention_bias=True, mlp_bias=True, tie_word_embeddings=False)
    return LlavaConfig(vision.to_dict(), text.to_dict(), image_token_index=IMAGE, image_seq_length=4, projector_hidden_act="relu",
                       vision_feature_layer=-2, vision_feature_select_strategy="default")


def shuffle():
    vision = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, image_size=SIDE, patch_size=4)
    text = siglip().text_config.to_dict()
    config = SmolVLMConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, scale_factor=2, pad_token_id=END, tie_word_embeddings=True)
    config.bos_token_id = config.eos_token_id = END
    config.image_seq_length = 4  # for this script
    return config


def gpt2(**more):
    text = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=64, bos_token_id=END, eos_token_id=END, **more)
    return LlavaConfig(siglip().vision_config.to_dict(), text.to_dict(), image_token_index=IMAGE, image_seq_length=4, vision_feature_layer=-1,
                       vision_feature_select_strategy="full")


def gpt2_shuffle():
    text = gpt2(n_inner=28, activation_function="relu", scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False).text_config
    config = SmolVLMConfig(vision_config=shuffle().vision_config.to_dict(), text_config=text.to_dict(), image_token_id=IMAGE, scale_factor=2,
                           pad_token_id=END, tie_word_embeddings=False)
    config.bos_token_id = config.eos_token_id = END
    config.image_seq_length, config.prompt_ids = 4, [7, 21, 3]  # no keys of transformers'
    return config


def build(config):
    torch.manual_seed(1)
    m = (SmolVLMForConditionalGeneration if config.model_type == "smolvlm" else LlavaForConditionalGeneration)(config)
    m.set_attn_implementation("eager")
    if config.model_type == "smolvlm":
        # 4.55 to 4.57 give every patch but the first the position before its own (huggingface/transformers#41190)
        e = m.model.vision_model.embeddings
        e.forward = lambda pixel_values, **_: e.patch_embedding(pixel_values).flatten(2).transpose(1, 2) + e.position_embedding.weight
    with torch.no_grad():
        for n, p in m.named_parameters():  # norms that do something, biases that are there
            if p.ndim == 1:
                p.add_(torch.randn_like(p) * 0.1)
    return m.eval()


def inputs():
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (B, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.full((B, K, T), -100, dtype=np.int64)
    for i in range(B):
        for k in range(K):
            n = int(rng.integers(2, T - 1))
            labels[i, k, :n] = rng.integers(1, END, n) if k == 0 else labels[i, 0, 0]
            labels[i, k, n] = END
    labels[B - 1, K - 1] = -100  # a caption that is missing
    return pixels, labels


def normalised(pixels):
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def prefixed(m, ids):
    """Ids that begin with the start token, behind the picture's and with the prompt, if there is one."""
    before = torch.tensor([[IMAGE] * m.config.image_seq_length + [END] + getattr(m.config, "prompt_ids", [])])
    return torch.cat([before.repeat(len(ids), 1), ids[:, 1:]], 1)


def pictures(m, pixels):
    """As the model takes them: a SmolVLM several of each example."""
    x = normalised(pixels)
    return x[:, None] if m.config.model_type == "smolvlm" else x


def forward(m, pixels, labels):
    """Logits of every caption, and the sum of the loss over label tokens."""
    y = torch.from_numpy(labels).reshape(B * K, T)
    ids = torch.cat([torch.full((B * K, 1), END), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, END)
    logits = m(input_ids=prefixed(m, ids), pixel_values=pictures(m, pixels).repeat_interleave(K, 0)).logits[:, -T:]
    return logits, torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB), y.reshape(-1), ignore_index=-100, reduction="sum")


def stored(name):
    """The name that save_pretrained gives a LLaVA's parameter."""
    for now, then in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                      ("model.vision_model.", "vision_tower.vision_model."), ("model.text_model.", "language_model.model."),
                      ("model.connector.modality_projection.", "multi_modal_projector."), ("model.", "")):
        if name.startswith(now):
            return then + name.removeprefix(now)
    raise ValueError(name)


def used(m):
    """The parameters that captions depend on, by the stored name."""
    if m.config.model_type == "smolvlm":
        return {stored(n): p for n, p in m.named_parameters()}
    skip = len(m.model.vision_tower.vision_model.encoder.layers) + m.config.vision_feature_layer + 1
    unused = [f"vision_model.encoder.layers.{skip}."] + (["vision_model.post_layernorm."] if m.config.vision_config.model_type == "clip_vision_model" else [])
    return {stored(n): p for n, p in m.named_parameters() if not any(u in n for u in unused)}


def adamw(m, lr):
    decay = [p for n, p in used(m).items() if p.ndim > 1 or n.endswith("class_embedding")]
    rest = [p for n, p in used(m).items() if not (p.ndim > 1 or n.endswith("class_embedding"))]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-8)


def generated(m, pixels, **options):
    ids = m.generate(input_ids=prefixed(m, torch.full((B, 1), END)), pixel_values=pictures(m, pixels), do_sample=False, pad_token_id=END, **options)
    rows = ids[:, prefixed(m, torch.full((B, 1), END)).shape[1]:].tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in rows]


SEARCHES = [{"num_beams": 1}, {"num_beams": 3}, {"num_beams": 4, "length_penalty": 2.0}, {"num_beams": 2, "no_repeat_ngram_size": 2}]


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    made = {"siglip": siglip(), "clip": clip(), "prompt": prompt(), "shuffle": shuffle(), "gpt2": gpt2(), "gpt2-shuffle": gpt2_shuffle()}
    for name, config in made.items():
        m = build(config)
        pixels, labels = inputs()
        teach = labels[:, :1].repeat(K, 1)  # one caption a picture, so that it can be learnt
        opt = adamw(m, 1e-2)
        for _ in range(80):
            opt.zero_grad()
            _, loss = forward(m, pixels, teach)
            (loss / (teach >= 0).sum()).backward()
            opt.step()
        out = HERE / name
        out.mkdir(parents=True, exist_ok=True)
        m.save_pretrained(out)
        os.remove(out / "generation_config.json")

        logits, loss = forward(m, pixels, labels)
        tokens = int((labels >= 0).sum())
        tensors = {"logits": logits.detach().contiguous()}
        golden = {
            "pictures": B, "captions": K, "tokens": T, "label_tokens": tokens, "max_length": 12,
            "pixels": base64.b64encode(pixels.tobytes()).decode(), "labels": labels.reshape(-1).tolist(), "loss_sum": float(loss),
            "searches": [{"options": s, "ids": generated(m, pixels, max_new_tokens=11, **s)} for s in SEARCHES],
        }
        golden["greedy"] = golden["searches"][0]["ids"]
        m.zero_grad()
        (loss / tokens).backward()
        for n, p in used(m).items():
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
            norm = torch.nn.utils.clip_grad_norm_(list(used(m).values()), 0.5)
            opt.step()
            golden["steps"].append({"loss_sum": float(loss), "grad_norm": float(norm), "learning_rate": lr})
        for n, p in used(m).items():
            tensors["after." + n] = p.detach().clone().contiguous()
        save_file(tensors, out / "golden.safetensors")
        (out / "golden.json").write_text(json.dumps(golden) + "\n")
        print(name, golden["greedy"], golden["steps"])


main()
