"""Makes transformers5/: python make_transformers5.py (torch 2.8.0, transformers 5.24.0).

A small captioner with every file as transformers 5 writes it, golden.safetensors with the logits of
make_variants.py's inputs, and ids.json: what generate() answers by the generation_config.json beside."""
import json, pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, GPT2Config, ViTConfig, ViTImageProcessorFast, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

B, T, SIDE, VOCAB = 2, 6, 16, 24
HERE = pathlib.Path(__file__).parent / "transformers5"


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    e = ViTConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=SIDE, patch_size=8)
    d = GPT2Config(vocab_size=VOCAB, n_positions=10, n_embd=8, n_layer=2, n_head=2, bos_token_id=VOCAB - 1, eos_token_id=VOCAB - 1)
    c = VisionEncoderDecoderConfig.from_encoder_decoder_configs(e, d)
    c.decoder_start_token_id = c.pad_token_id = c.eos_token_id = VOCAB - 1
    m = VisionEncoderDecoderModel(config=c)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in m.named_parameters():
            norm = ("ln_" in name or "layernorm" in name) and name.endswith("weight")
            p.copy_(torch.randn(p.shape, generator=g) * (0.3 if p.ndim > 1 else 0.1) + float(norm))
    m.tie_weights()
    m.generation_config = GenerationConfig(
        max_length=8, num_beams=2, decoder_start_token_id=VOCAB - 1, eos_token_id=VOCAB - 1, pad_token_id=VOCAB - 1, bad_words_ids=[[3], [5, 6]])
    m.save_pretrained(HERE)
    ViTImageProcessorFast(size={"height": SIDE, "width": SIDE}).save_pretrained(HERE)
    m = VisionEncoderDecoderModel.from_pretrained(HERE, attn_implementation="eager").eval()
    i = np.arange(B * SIDE * SIDE * 3, dtype=np.int64)
    pixels = ((i * i + 31 * i) // 7 % 256).astype(np.uint8).reshape(B, SIDE, SIDE, 3)
    x = torch.from_numpy(((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)).permute(0, 3, 1, 2)
    ids = torch.from_numpy(np.arange(B * T, dtype=np.int64).reshape(B, T) * 5 % VOCAB)
    save_file({"logits": m(pixel_values=x, decoder_input_ids=ids).logits.detach().contiguous()}, HERE / "golden.safetensors")
    rows = [r[: r.index(VOCAB - 1) + 1] if VOCAB - 1 in r else r for r in m.generate(pixel_values=x)[:, 1:].tolist()]
    (HERE / "ids.json").write_text(json.dumps(rows) + "\n")


main()
