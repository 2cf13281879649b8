"""Makes search/policy.json: python make_policy.py (torch 2.8.0, transformers 4.57.1), after make_generate.py.

Each case is a generation_config.json that lies beside the model of search/, and the ids that
generate(pixel_values=...) then answers to golden.json's pictures, without the start token, up to and
with the first end token. Banned are tokens, pairs and triples that the model likes to say."""
import base64, collections, json, pathlib, shutil, tempfile

import numpy as np
import torch
from transformers import VisionEncoderDecoderModel

SIDE, END, START, LENGTH = 16, 0, 47, 16
SEARCH = pathlib.Path(__file__).parent / "search"
TOKENS = {"bos_token_id": START, "decoder_start_token_id": START, "eos_token_id": END, "pad_token_id": END, "max_length": LENGTH}


def pictures():
    golden = json.loads((SEARCH / "golden.json").read_text())
    pixels = np.frombuffer(base64.b64decode(golden["pixels"]), np.uint8).reshape(golden["pictures"], SIDE, SIDE, 3)
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def generate(x, generation, top={}):
    """The ids of a model directory with this generation_config.json, and these keys in config.json."""
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        shutil.copy(SEARCH / "model.safetensors", d)
        (d / "config.json").write_text(json.dumps({**json.loads((SEARCH / "config.json").read_text()), **top}))
        (d / "generation_config.json").write_text(json.dumps(generation))
        m = VisionEncoderDecoderModel.from_pretrained(d).eval()
        m.set_attn_implementation("eager")
        ends = generation["eos_token_id"]
        ends = ends if isinstance(ends, list) else [ends]
        rows = []
        for row in m.generate(pixel_values=x)[:, 1:].tolist():
            at = [i for i, t in enumerate(row) if t in ends]
            rows.append(row[: at[0] + 1] if at else row)
        return rows


def likes(rows):
    """The tokens, pairs and triples that come most often, and the tokens that come first."""
    def count(grams):
        return [list(g) for g, _ in sorted(collections.Counter(grams).items(), key=lambda p: (-p[1], p[0]))]
    inner = [[t for t in r if t != END] for r in rows]
    runs = [count(tuple(r[i : i + n]) for r in inner for i in range(len(r) - n + 1)) for n in (1, 2, 3)]
    return *runs, [t[0] for t in count((r[0],) for r in inner)]


def policies(ones, twos, threes, firsts):
    flat = [t[0] for t in ones]
    yield {"bad_words_ids": ones[:1]}
    yield {"bad_words_ids": ones[:3] + [[END]]}  # an end token by itself stays possible
    yield {"bad_words_ids": twos[:4]}
    yield {"bad_words_ids": threes[:3] + twos[1:2] + ones[4:5]}
    yield {"bad_words_ids": [[flat[0], END], [START, firsts[0]], [START, firsts[0], flat[0]]]}
    yield {"suppress_tokens": flat[:2]}
    yield {"suppress_tokens": [END]}
    yield {"begin_suppress_tokens": firsts[:2]}
    yield {"begin_suppress_tokens": firsts + flat[:3], "forced_bos_token_id": firsts[0]}
    yield {"forced_bos_token_id": flat[3]}
    yield {"forced_bos_token_id": flat[0], "bad_words_ids": ones[:1] + twos[:1]}
    yield {"forced_bos_token_id": flat[1], "suppress_tokens": flat[2:4]}
    yield {"forced_eos_token_id": END, "max_length": 6}
    yield {"forced_eos_token_id": [END, flat[0]], "max_length": 7}
    yield {"forced_eos_token_id": END, "max_length": 6, "min_length": 6}
    yield {"bad_words_ids": twos[:2] + ones[1:2], "no_repeat_ngram_size": 2, "repetition_penalty": 1.3}
    yield {"bad_words_ids": twos[:2], "min_length": 7, "begin_suppress_tokens": firsts[:1], "suppress_tokens": flat[1:2]}
    yield {"bad_words_ids": ones[:1] + twos[2:5], "eos_token_id": [END, flat[5]]}


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    x = pictures()
    said = likes(generate(x, TOKENS))
    cases = []
    for policy in policies(*said):
        for beams in ({}, {"num_beams": 3}, {"num_beams": 4, "length_penalty": 0.5, "early_stopping": True}):
            o = {**TOKENS, **policy, **beams}
            cases.append({"file": o, "ids": generate(x, o)})
    # as save_pretrained wrote the file from a config, and someone added words by hand
    o = {**TOKENS, "_from_model_config": True, "transformers_version": "4.57.1", "bad_words_ids": said[0][:1] + said[1][:2]}
    cases.append({"file": o, "ids": generate(x, o)})
    (SEARCH / "policy.json").write_text(json.dumps(cases) + "\n")


main()
