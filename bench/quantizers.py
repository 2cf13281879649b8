"""Our quantized exports beside those that ONNX Runtime's own quantizers make of the same float32 files.

    python3 -m venv .venv && .venv/bin/pip install onnxruntime==1.32.0 onnx==1.23.2 onnx_ir numpy pillow tokenizers rouge_score
    bin/distilvit export -m RUN -d DATASET --dtypes fp32,q8,q4 nearest
    bin/distilvit export -m RUN -d DATASET --dtypes q8,q4 --calibrate 64 calibrated
    .venv/bin/python bench/quantizers.py nearest calibrated --captions captions.json --images DIRECTORY --pictures 300

The first directory has the float32 files. quantize_dynamic (per tensor, and per column) and MatMulNBitsQuantizer
(blocks of 32, symmetric, round to nearest) make theirs of them. Every form captions the same pictures, of
COCO's file of captions, greedily; printed are its size, the divergence of its distributions from the float32 files'
along their captions (nats a token), captions that are equal token by token, and points of rougeL less.
"""
import argparse
import json
import logging
import os
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from PIL import Image
from rouge_score import rouge_scorer
from tokenizers import Tokenizer

logging.disable(logging.INFO)
STEMS = ("encoder_model", "decoder_model_merged")


def dynamic(path, out, per_channel):
    quantize_dynamic(path, out, weight_type=QuantType.QUInt8, per_channel=per_channel,
                     extra_options={"MatMulConstBOnly": True, "EnableSubgraph": True})


def nbits(path, out):
    quantizer = MatMulNBitsQuantizer(onnx.load(path), block_size=32, is_symmetric=True)
    quantizer.process()
    onnx.save(quantizer.model.model, out)


class Captioner:
    def __init__(self, paths, config, max_length):
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
        options.log_severity_level = 3
        self.encoder, self.decoder = (ort.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in paths)
        self.bytes = sum(os.path.getsize(p) for p in paths)
        self.start = config.get("decoder_start_token_id") or config["bos_token_id"]
        self.end, self.max_length = config["eos_token_id"], max_length
        self.outputs = [o.name for o in self.decoder.get_outputs()]

    def encode(self, pixels):
        return self.encoder.run(["last_hidden_state"], {"pixel_values": pixels})[0]

    def empty(self):
        return {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)
                for i in self.decoder.get_inputs() if i.name.startswith("past")}

    def run(self, ids, hidden, past):
        feed = {"input_ids": np.array([ids], np.int64), "encoder_hidden_states": hidden, **past}
        out = dict(zip(self.outputs, self.decoder.run(None, feed)))
        past = {k.replace("present", "past_key_values"): v for k, v in out.items() if k.startswith("present")}
        return out["logits"][0], past

    def caption(self, pixels):
        hidden, past, ids, token = self.encode(pixels), self.empty(), [], self.start
        while len(ids) < self.max_length - 1:
            logits, past = self.run([token], hidden, past)
            token = int(logits[-1].argmax())
            ids.append(token)
            if token == self.end:
                break
        return ids

    def logs(self, pixels, ids):
        logits, _ = self.run([self.start] + ids[:-1], self.encode(pixels), self.empty())
        x = logits.astype(np.float64)
        x -= x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory", nargs="+")
    p.add_argument("--captions", required=True)
    p.add_argument("--images", required=True)
    p.add_argument("--pictures", type=int, default=300)
    a = p.parse_args()
    base = a.directory[0]
    config = json.load(open(f"{base}/config.json"))
    generation = json.load(open(f"{base}/generation_config.json"))
    processor = json.load(open(f"{base}/preprocessor_config.json"))
    tokenizer = Tokenizer.from_file(f"{base}/tokenizer.json")
    side = config["encoder"]["image_size"]
    mean, std = (np.array(processor[k], np.float32) for k in ("image_mean", "image_std"))

    coco = json.load(open(a.captions))
    references = {}
    for c in coco["annotations"]:
        references.setdefault(c["image_id"], []).append(c["caption"])
    pictures = []
    for i in coco["images"][: a.pictures]:
        rgb = Image.open(os.path.join(a.images, i["file_name"])).convert("RGB").resize((side, side), Image.BILINEAR)
        x = (np.asarray(rgb, np.float32) / 255 - mean) / std
        pictures.append((x.transpose(2, 0, 1)[None], references[i["id"]]))

    files = lambda d, suffix: [f"{d}/onnx/{s}{suffix}.onnx" for s in STEMS]
    forms = [("float32", files(base, ""))]
    temp = tempfile.mkdtemp()
    makers = {"quantize_dynamic, per tensor": lambda f, t: dynamic(f, t, False),
              "quantize_dynamic, per column": lambda f, t: dynamic(f, t, True),
              "MatMulNBitsQuantizer": nbits}
    for number, (name, make) in enumerate(makers.items()):
        made = [f"{temp}/{number}-{s}.onnx" for s in STEMS]
        for source, target in zip(files(base, ""), made):
            make(source, target)
        forms.append((name, made))
    for directory in a.directory:
        for suffix in ("_quantized", "_int8", "_q4", "_q4f16"):
            if os.path.exists(files(directory, suffix)[1]):
                forms.append((f"{os.path.basename(directory)} {suffix[1:]}", files(directory, suffix)))

    scorer = rouge_scorer.RougeScorer(["rougeL"])
    plain = None
    print("| form | MiB | KL | equal captions | rougeL lost |\n|---|---:|---:|---:|---:|")
    for name, paths in forms:
        captioner = Captioner(paths, config, generation["max_length"])
        ids = [captioner.caption(x) for x, _ in pictures]
        text = [tokenizer.decode(i, skip_special_tokens=True).strip() for i in ids]
        rouge = 100 * np.mean([max(scorer.score(r, t)["rougeL"].fmeasure for r in refs)
                               for t, (_, refs) in zip(text, pictures)])
        if plain is None:
            plain = ids, rouge, [captioner.logs(x, i) for i, (x, _) in zip(ids[:100], pictures)]
            print(f"| {name} | {captioner.bytes / 2**20:.2f} | | {len(ids)} | rougeL {rouge:.2f} |")
            continue
        kl = [(np.exp(p) * (p - captioner.logs(x, i))).sum(-1) for i, p, (x, _) in zip(plain[0], plain[2], pictures)]
        equal = sum(x == y for x, y in zip(ids, plain[0]))
        print(f"| {name} | {captioner.bytes / 2**20:.2f} | {np.concatenate(kl).mean():.1e} | {equal} | "
              f"{plain[1] - rouge:.2f} |", flush=True)


main()
