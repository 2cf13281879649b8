"""What freezing, adapters, a decay by layer and a teacher cost and gain: a table of short runs, three seeds each.

A captioner learns Twitter's and Google's drawings of emoji (the base). Then it is trained on Facebook's drawings of some
of them, in each way of `rows`, and asked about Facebook's drawings of others. After ./make.sh:

    python finetune.py --program ../../bin/distilvit --work /tmp/finetune

Runs that are done are not run again; with `--table` none is run at all. Python's standard library suffices. CPU seconds
are those of the run's process and its children, by getrusage: stack, compilation, validations, test and export too.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shlex
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIN = re.compile(r" (medium light|medium dark|medium|light|dark) skin tone")
BASE_EPOCHS, EPOCHS = 12, 6

HALF = {"from_layers": {"decoder": [0, 2]}}
ALONE = "half the decoder"
rows = {  # name: what is added to model and train; SEED is the run's seed
    "full": ({}, {}),
    "encoder frozen": ({}, {"freeze": ["encoder"]}),
    "LoRA": ({}, {"learning_rate": 0.002, "lora": {"r": 8}}),
    "layer decay": ({}, {"layer_decay": 0.8}),
    ALONE: (HALF, {}),
    "half, with a teacher": (HALF, {"teacher": "run:full-SEED"}),
}


def split_of(caption):
    """By the name without the skin tone, so that all skin tones of an emoji are in one split."""
    part = hashlib.sha256(SKIN.sub("", caption).encode()).digest()[0] / 256
    return "test" if part < 0.25 else "validation" if part < 0.35 else "train" if part < 0.85 else None


def facebook(data, out):
    """Facebook's drawings of emoji that the base has seen by others, as caption files of three splits."""
    known = json.loads((data / "test.json").read_text())
    captions = {a["image_id"]: a for a in known["annotations"]}
    files = {name: {"images": [], "annotations": []} for name in ("train", "validation", "test")}
    for image in known["images"]:
        split = split_of(captions[image["id"]]["caption"])
        if split and image["group"] == "seen emoji, new drawing":
            files[split]["images"].append({"id": image["id"], "file_name": image["file_name"]})
            files[split]["annotations"].append(captions[image["id"]])
    for name, file in files.items():
        (out / f"facebook-{name}.json").write_text(json.dumps(file))
        print(f"{name}: {len(file['images'])} pictures")


def dataset(captions, images):
    return [{"kind": "coco", "split": s, "captions": str(captions(s)), "images": str(images(s))}
            for s in ("train", "validation", "test")]


def config(data, work, row, seed):
    base = row == "base"
    train = {
        "epochs": BASE_EPOCHS if base else EPOCHS, "batch_size": 32, "captions_per_picture": 1, "max_length": 16,
        "learning_rate": 0.001 if base else 0.0005, "warmup_fraction": 0.05, "weight_decay": 0.05, "patience": 0,
        "augment": {"shift": 0.08, "scale": 0.15, "rotation": 12, "color": 0.2},
    }
    model = {"weights": "run:base"}
    if base:
        model = {"preset": "tiny", "patch_size": 16, "vocab_size": 1500, "decoder_layer": 4}
    if not base:
        more, how = json.loads(json.dumps(rows[row]).replace("SEED", str(seed)))
        model, train = model | more, train | how
    return {
        "name": slug(row, seed), "seed": seed, "model": model, "train": train,
        "dataset": dataset(lambda s: data / f"{s}.json", lambda s: data / s) if base else
        dataset(lambda s: work / f"facebook-{s}.json", lambda s: data / "test"),
        "evaluate": {"batch_size": 64, "samples": 8, "limit": 0 if base else 128},
        "export": {"dtypes": ["fp32"], "pictures": 8},
    }


def slug(row, seed):
    return "base" if row == "base" else f"{re.sub('[^a-z]+', '-', row.lower())}-{seed}"


def run(arguments, row, seed):
    """Trains once and keeps the result, with what it cost, beside the others."""
    name, work = slug(row, seed), arguments.work
    file = work / f"{name}.json"
    if file.exists():
        return json.loads(file.read_text())
    if arguments.table:
        return None
    path = work / f"{name}.config.json"
    path.write_text(json.dumps(config(arguments.data, work, row, seed), indent=1))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*shlex.split(arguments.before), str(arguments.program), "run", "-f", str(path), "--id", name,
               "--data", str(work / "stack"), "-o", "json"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=(work / f"{name}.log").open("w")).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {"result": json.loads(said), "checkpoint": checkpoint_bytes(work / "stack", name),
              "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
    file.write_text(json.dumps(result, indent=1))
    test = result["result"]["test"]
    print(name, *(round(x, 3) for x in (result["cpu_seconds"], test["eval_loss"], test["eval_rougeL"], test["eval_cider"])))
    return result


def checkpoint_bytes(stack, name):
    """The newest checkpoint's files."""
    manifests = (stack.glob(f"*/objects/distilvit/runs/{name}/checkpoints/*/*/manifest.json"))
    newest = max(manifests, key=lambda path: int(path.parent.name))
    return sum(file["size"] for file in json.loads(newest.read_text())["files"].values())


def spread(values, digits):
    """Mean and standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def table(results, seeds):
    print("\n| trained | eval_loss | rougeL | CIDEr | exact, % | CPU s | checkpoint, MB |\n|---|---|---|---|---|---|---|")
    for row in rows:
        done = [results[row, s] for s in seeds if results.get((row, s))]
        if not done:
            continue
        of = lambda key, digits: spread([d["result"]["test"][key] for d in done], digits)
        scores = [of("eval_loss", 3), of("eval_rougeL", 1), of("eval_cider", 1), of("eval_exact_match", 1)]
        cost = [spread([d["cpu_seconds"] for d in done], 0), f"{done[0]['checkpoint'] / 1e6:.1f}"]
        print("| " + " | ".join([row, *scores, *cost]) + " |")
    for row in (ALONE, "half, with a teacher"):
        far = [results[row, s]["result"]["test"]["eval_cider"] - results["full", s]["result"]["test"]["eval_cider"]
               for s in seeds if results.get((row, s)) and results.get(("full", s))]
        if far:
            print(f"\nCIDEr, {row} less full: {spread(far, 1)} ({', '.join(f'{f:+.1f}' for f in far)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=HERE / "../../bin/distilvit")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="what make.sh wrote")
    parser.add_argument("--work", type=Path, required=True, help="folder for stack, configs and results")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--before", default="", help="command that each run is given to, such as nice")
    parser.add_argument("--table", action="store_true", help="print the table of what is done, run nothing")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.program, arguments.data, arguments.work = (
        Path(os.path.abspath(p)) for p in (arguments.program, arguments.data, arguments.work))
    if not arguments.table:
        facebook(arguments.data, arguments.work)
        run(arguments, "base", 1)
    seeds = [int(s) for s in arguments.seeds.split(",")]
    order = sorted(((row, s) for s in seeds for row in rows), key=lambda run: run[0] == ALONE)  # the comparison's last
    table({(row, s): run(arguments, row, s) for row, s in order}, seeds)


if __name__ == "__main__":
    main()
