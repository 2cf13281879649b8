"""Makes the files of weights that torch.save writes: python make_pytorch.py (torch 2.8.0, transformers
4.57.1, safetensors 0.8.0).

../pytorch/testdata gets FORM.bin in every form, all of the same tensors, want.safetensors with their
values, and hostile-*.bin, which would run a command if they were unpickled. pytorch/ gets models of
variants/ as published before safetensors: with lm_head beside the tied wte, masks and a pooler; in one
file of each form, in shards, and an encoder and a decoder apart."""
import collections, json, os, pathlib, pickle, shutil, zipfile

import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
MODELS, FORMS, VARIANTS = HERE / "pytorch", HERE.parent / "pytorch/testdata", HERE / "variants"


def save(tensors, path, **form):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path, **form)


def tensors():
    g = torch.Generator().manual_seed(1)
    whole = torch.randn(6, 10, generator=g)
    d = collections.OrderedDict(
        wte=whole, lm_head=whole,  # tied
        transposed=torch.randn(4, 7, generator=g).T, column=whole[:, 3], part=whole[2:4], steps=whole[::2, 1::3],
        turned=torch.randn(2, 3, 4, generator=g).permute(2, 0, 1), single=torch.randn(5, 1, generator=g).T,
        half=torch.randn(33, generator=g).half(), brain=torch.randn(3, 5, generator=g).bfloat16(), halfpart=torch.randn(4, 4, generator=g).half()[1:, 2:],
        scalar=torch.tensor(-1e4), empty=torch.zeros(0, 3), trained=torch.nn.Parameter(torch.randn(3, generator=g)),
        mask=torch.tril(torch.ones(4, 4, dtype=torch.bool)).view(1, 1, 4, 4), bytes=torch.arange(5, dtype=torch.uint8), longs=torch.arange(-3, 3),
        double=torch.randn(2, generator=g, dtype=torch.float64))
    d._metadata = collections.OrderedDict([("", {"version": 1})])  # as Module.state_dict has it
    return d


def forms():
    d = tensors()
    shutil.rmtree(FORMS, ignore_errors=True)
    save(d, FORMS / "zip.bin")
    save(dict(d), FORMS / "dict.bin")
    save(d, FORMS / "protocol4.bin", pickle_protocol=4)
    save(d, FORMS / "legacy.bin", _use_new_zipfile_serialization=False)
    save(d, FORMS / "legacy4.bin", _use_new_zipfile_serialization=False, pickle_protocol=4)
    save_file({k: v.detach().clone().contiguous() for k, v in d.items()}, FORMS / "want.safetensors")
    with zipfile.ZipFile(FORMS / "zip.bin") as a, zipfile.ZipFile(FORMS / "compressed.bin", "w", zipfile.ZIP_DEFLATED) as b:
        for n in a.namelist():
            b.writestr(n, a.read(n))


class Run:
    def __reduce__(self):
        return os.system, ("echo hacked > hacked",)


def hostile():
    save({"a": torch.zeros(2), "b": Run()}, FORMS / "hostile-zip.bin")
    save({"a": torch.zeros(2), "b": Run()}, FORMS / "hostile-legacy.bin", _use_new_zipfile_serialization=False)
    save({"a": torch.zeros(2), "b": Run()}, FORMS / "hostile-protocol4.bin", pickle_protocol=4)
    (FORMS / "hostile-pickle.bin").write_bytes(pickle.dumps(Run()))
    (FORMS / "hostile-old.bin").write_bytes(pickle.dumps(Run(), 0))
    save(torch.nn.Linear(2, 2), FORMS / "module.bin")  # a whole module instead of its state dict


def old(name, dtype=torch.float32):
    """The weights of a variant as a model of transformers 4.17 saved them."""
    d = collections.OrderedDict((k, v.to(dtype)) for k, v in sorted(load_file(VARIANTS / name / "model.safetensors").items()))
    config = json.loads((VARIANTS / name / "config.json").read_text())["decoder"]
    for layer in range(config["n_layer"]):
        for attention in ("attn", "crossattention"):
            n = config["n_positions"]
            d[f"decoder.transformer.h.{layer}.{attention}.bias"] = torch.tril(torch.ones(n, n, dtype=torch.uint8)).view(1, 1, n, n)
            d[f"decoder.transformer.h.{layer}.{attention}.masked_bias"] = torch.tensor(-1e4)
    d.setdefault("decoder.lm_head.weight", d["decoder.transformer.wte.weight"])
    d["encoder.pooler.dense.bias"] = torch.zeros(8)
    return d


def copy_config(name, to):
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy(VARIANTS / name / "config.json", to / "config.json")


def models():
    shutil.rmtree(MODELS, ignore_errors=True)
    for folder, variant, dtype, form in (("zip", "tanh", torch.float32, {}), ("legacy", "tanh", torch.float32, {"_use_new_zipfile_serialization": False}),
                                         ("untied", "untied", torch.float32, {}), ("fp16", "fp16", torch.float16, {}),
                                         ("bf16", "bf16", torch.bfloat16, {"_use_new_zipfile_serialization": False})):
        copy_config(variant, MODELS / folder)
        save(old(variant, dtype), MODELS / folder / "pytorch_model.bin", **form)
    copy_config("tanh", MODELS / "sharded")
    d, index = old("tanh"), {}
    names = list(d)
    for i in range(2):
        file = f"pytorch_model-{i + 1:05}-of-00002.bin"
        shard = {n: d[n].clone() for n in names[i * len(names) // 2 : (i + 1) * len(names) // 2]}
        save(shard, MODELS / "sharded" / file)
        index.update({n: file for n in shard})
    (MODELS / "sharded/pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}) + "\n")
    (MODELS / "mixed.json").write_text(json.dumps({"weight_map": {"a": "model-00001.safetensors"}}) + "\n")
    for part in ("encoder", "decoder"):
        copy_config("parts/" + part, MODELS / "parts" / part)
        save(load_file(VARIANTS / "parts" / part / "model.safetensors"), MODELS / "parts" / part / "pytorch_model.bin")


forms()
hostile()
models()
