"""Makes the golden vectors of what a VisionEncoderDecoderModel may be, from
PyTorch and transformers: python make_variants.py (torch 2.8.0, transformers
4.57.1).

Each folder of variants/ holds a model in Hugging Face's form and
golden.safetensors: logits [pictures, tokens, vocab], and in those of GRADIENTS the
gradients of the mean loss of the ids as labels. `parts` holds an encoder and a decoder saved apart;
its golden file also has the weights that join them, which transformers draws. The other parts-…
hold encoders for the same decoder: both towers of a SigLIP and of a CLIP, and a DINOv2 for larger pictures,
whose position embeddings transformers interpolates.
Pixels and token ids are those of inputs(), the same for all."""
import pathlib, shutil

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (BitImageProcessor, CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, DeiTConfig, Dinov2Config, Dinov2ForImageClassification,
                          Dinov2Model, GPT2Config, GPT2LMHeadModel, GPT2Model, SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel,
                          ViTConfig, ViTForImageClassification, VisionEncoderDecoderConfig, VisionEncoderDecoderModel)

B, T, SIDE, VOCAB = 2, 6, 16, 24
GRADIENTS = {"untied", "siglip", "clip", "dinov2"}
HERE = pathlib.Path(__file__).parent / "variants"


def inputs():
    i = np.arange(B * SIDE * SIDE * 3, dtype=np.int64)
    pixels = ((i * i + 31 * i) // 7 % 256).astype(np.uint8).reshape(B, SIDE, SIDE, 3)
    ids = np.arange(B * T, dtype=np.int64).reshape(B, T) * 5 % VOCAB
    return pixels, ids


def logits(m, ids=None):
    pixels, default = inputs()
    ids = default if ids is None else ids
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    return m(pixel_values=torch.from_numpy(x).permute(0, 3, 1, 2), decoder_input_ids=torch.from_numpy(ids)).logits


def lively(m, seed=1):
    """Weights that make every part of the network matter."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in m.named_parameters():
            near_1 = ("ln_" in name or "norm" in name) and name.endswith("weight") or "lambda" in name
            p.copy_(torch.randn(p.shape, generator=g) * (0.3 if p.ndim > 1 else 0.1) + float(near_1))
    return m


def encoder(kind=ViTConfig, width=8, **k):
    return kind(hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=SIDE, patch_size=8, **k)


def decoder(end=VOCAB - 1, **k):
    return GPT2Config(vocab_size=VOCAB, n_positions=10, n_embd=8, n_layer=2, n_head=2, bos_token_id=end, eos_token_id=end, **k)


def model(e, d):
    c = VisionEncoderDecoderConfig.from_encoder_decoder_configs(e, d)
    c.decoder_start_token_id, c.pad_token_id, c.eos_token_id = d.bos_token_id, d.eos_token_id, d.eos_token_id
    m = lively(VisionEncoderDecoderModel(config=c))
    m.set_attn_implementation("eager")
    m.tie_weights()
    return m.eval()


def save(name, m, dtype=torch.float32, **k):
    m.to(dtype).save_pretrained(HERE / name, **k)
    m.to(torch.float32)  # the rounded weights, computed with as float32
    tensors = {"logits": logits(m).detach().contiguous()}
    if name in GRADIENTS:
        _, labels = inputs()
        ids = np.concatenate([np.full((B, 1), m.config.decoder_start_token_id), labels[:, :-1]], 1)
        torch.nn.functional.cross_entropy(logits(m, ids).reshape(-1, VOCAB), torch.from_numpy(labels).reshape(-1)).backward()
        for n, p in m.named_parameters():
            if p.grad is not None and "pooler" not in n:
                tensors["grad." + n] = p.grad.clone().contiguous()
    (HERE / name / "generation_config.json").unlink()
    save_file(tensors, HERE / name / "golden.safetensors")


def save_parts():
    d = lively(GPT2LMHeadModel(decoder()), 2)
    d.tie_weights()
    d.save_pretrained(HERE / "parts/decoder")  # names with the prefix transformer.
    GPT2Model.from_pretrained(HERE / "parts/decoder").save_pretrained(HERE / "parts/decoder-bare")  # names without it
    join("parts", ViTForImageClassification(encoder(width=12, num_labels=3)))  # names with the prefix vit.
    tower = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20)
    vision = dict(tower, image_size=SIDE, patch_size=8)
    text = dict(tower, vocab_size=11, max_position_embeddings=5, projection_size=12)
    ids = dict(bos_token_id=9, eos_token_id=10, pad_token_id=1)
    join("parts-siglip", SiglipModel(SiglipConfig(text_config=text | ids, vision_config=vision)), SiglipVisionModel)
    join("parts-clip", CLIPModel(CLIPConfig(text_config=text | ids, vision_config=vision, projection_dim=7)), CLIPVisionModel)
    large = Dinov2Config(**tower, mlp_ratio=2, image_size=5 * 8, patch_size=8, num_labels=3)
    join("parts-dinov2", Dinov2ForImageClassification(large), Dinov2Model)
    p = BitImageProcessor(size={"shortest_edge": SIDE + 3}, crop_size={"height": SIDE, "width": SIDE})
    p.save_pretrained(HERE / "parts-dinov2/encoder")


def join(name, e, part=None):
    """Saves an encoder; golden are the logits of it, or of a part of it, and the decoder."""
    lively(e).save_pretrained(HERE / name / "encoder")
    m = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(
        HERE / name / "encoder", HERE / "parts/decoder", encoder_model=part and part.from_pretrained(HERE / name / "encoder")).eval()
    drawn = {n: p for n, p in m.named_parameters() if "cross" in n or "enc_to_dec" in n}
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for n, p in drawn.items():
            p.copy_(torch.randn(p.shape, generator=g) * 0.3)
    tensors = {n: p.detach().clone() for n, p in drawn.items()}
    m.set_attn_implementation("eager")
    tensors["logits"] = logits(m).detach().contiguous()
    save_file(tensors, HERE / name / "golden.safetensors")


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    shutil.rmtree(HERE, ignore_errors=True)
    save("untied", model(encoder(), decoder(tie_word_embeddings=False)))
    save("deit", model(encoder(DeiTConfig), decoder()))
    save("relu", model(encoder(hidden_act="relu"), decoder(activation_function="relu", n_inner=20)))
    save("gelu", model(encoder(hidden_act="gelu_new", qkv_bias=False), decoder(activation_function="gelu")))
    save("tanh", model(encoder(hidden_act="gelu_pytorch_tanh"), decoder(activation_function="gelu_pytorch_tanh")))
    save("scaled", model(encoder(), decoder(scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True)))
    save("widths", model(encoder(width=12), decoder(end=0)))
    save("bf16", model(encoder(), decoder()), torch.bfloat16)
    save("fp16", model(encoder(), decoder()), torch.float16)
    save("sharded", model(encoder(), decoder()), torch.bfloat16, max_shard_size="6KB")
    save("siglip", model(encoder(SiglipVisionConfig), decoder()))
    save("clip", model(encoder(CLIPVisionConfig, width=12), decoder()))
    save("dinov2", model(encoder(Dinov2Config, mlp_ratio=1.5), decoder()))
    save_parts()


main()
