"""Makes prefix/: a tiny LLaVA with random weights, pictures, and what transformers captions them with.

    pip install torch==2.8.0 transformers==4.57.1
    python make_prefix.py

golden.json has for each picture its pixels, the greedy ids, and the logits by which they were chosen as float32.
"""
import base64
import json
import os

import numpy as np
import torch
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prefix")
SIDE, PATCH, START, IMAGE, LENGTH = 32, 8, 90, 1, 12
torch.manual_seed(9)
tower = SiglipVisionConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=SIDE, patch_size=PATCH, vision_use_head=False
)
text = LlamaConfig(
    vocab_size=91, hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, head_dim=8,
    max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True,
    bos_token_id=START, eos_token_id=START, pad_token_id=START,
)
config = LlavaConfig(
    tower, text, image_token_index=IMAGE, vision_feature_layer=-1, vision_feature_select_strategy="full",
    image_seq_length=(SIDE // PATCH) ** 2, tie_word_embeddings=True,
)
m = LlavaForConditionalGeneration(config).eval()
with torch.no_grad():
    for name, p in m.named_parameters():
        if p.dim() > 1:
            p.normal_(0, 0.25 if "embed" in name else 1.4 / p.shape[-1] ** 0.5)
        else:
            p.add_(torch.randn(p.shape) * 0.2)
    m.model.vision_tower.vision_model.embeddings.patch_embedding.weight.mul_(0.5)
m.tie_weights()

rng = np.random.default_rng(2)
rows = []
for _ in range(6):
    px = rng.integers(0, 60, (SIDE, SIDE, 3))
    for _ in range(3):
        x, y, size, channel = rng.integers(0, SIDE), rng.integers(0, SIDE), rng.integers(4, 20), rng.integers(0, 3)
        px[y : y + size, x : x + size, channel] = 255
    values = torch.tensor((px / 255 - 0.5) / 0.5, dtype=torch.float32).permute(2, 0, 1)[None]
    ids = [IMAGE] * config.image_seq_length + [START]
    logits = []
    with torch.no_grad():
        while len(logits) < LENGTH:
            last = m(input_ids=torch.tensor([ids]), pixel_values=values, use_cache=False).logits[0, -1]
            logits.append(last.numpy())
            ids.append(int(last.argmax()))
            if ids[-1] == START:
                break
    new = ids[config.image_seq_length + 1 :]
    out = m.generate(
        input_ids=torch.tensor([[IMAGE] * config.image_seq_length + [START]]), pixel_values=values, do_sample=False, max_new_tokens=LENGTH,
        suppress_tokens=None,
    )[0, config.image_seq_length + 1 :].tolist()
    assert out == new, (out, new)
    rows.append({"pixels": base64.b64encode(px.astype(np.uint8).tobytes()).decode(), "ids": new, "logits": base64.b64encode(np.stack(logits).tobytes()).decode()})
    print(new)
os.makedirs(HERE, exist_ok=True)
m.save_pretrained(HERE)
saved = json.load(open(os.path.join(HERE, "config.json")))
# After the tower's last norm, as version 4 has it for -1; version 5 asks for the key.
saved["vision_config"]["tie_last_hidden_states"] = True
saved.update(bos_token_id=START, eos_token_id=START, pad_token_id=START, decoder_start_token_id=START)
json.dump(saved, open(os.path.join(HERE, "config.json"), "w"), indent=1)
os.remove(os.path.join(HERE, "generation_config.json"))
json.dump(rows, open(os.path.join(HERE, "golden.json"), "w"))
