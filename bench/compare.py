"""Runs distilvit and its Python reference in turn and prints how they compare.

    compare.py [--rounds 3] [--program bin/distilvit] [--python python3] [--pictures DIRECTORY] [ROW...]

Each row runs both sides in processes of their own, one at a time, A B A B ..., so that other work on the machine meets
both alike; a cell is the median of the rounds. Rows: see ROWS. Needs nothing but Python's own library itself; --python is the
one with requirements.txt. Raw results go to stderr, a table in Markdown to stdout.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# What is compared: our command, the reference's, the field of their JSON, whether ours is to be a multiple or a fraction of the
# reference's, and the target.
ROWS = {
    "train-t16": ("training step, base, batch 4, T 16, CPU s", "train --pictures 4 --captions 1 --tokens 16 {steps}",
                  "train --pictures 4 --tokens 16 {steps}", "cpu_s", "most", 0.6),
    "train-t128": ("training step, base, batch 4, T 128, CPU s", "train --pictures 4 --captions 1 --tokens 128 {steps}",
                   "train --pictures 4 --tokens 128 {steps}", "cpu_s", "most", 0.6),
    "throughput": ("training, captions per CPU s, 2 pictures of 5 captions at T 16 against the recipe at batch 4",
                   "train --pictures 2 --captions 5 --tokens 16 {steps}", "train --pictures 4 --recipe {steps}", "per_cpu_s", "least", 7),
    "forty": ("training, captions per CPU s, 8 pictures of 5 captions at T 16 against the recipe at batch 40",
              "train --pictures 8 --captions 5 --tokens 16 {steps}", "train --pictures 40 --recipe {steps}", "per_cpu_s", "least", 7),
    "memory": ("peak memory of training at 40 captions a step, GB", "train --pictures 8 --captions 5 --tokens 16 {steps}",
               "train --pictures 40 --recipe {steps}", "peak_bytes", "most", 0.6),
    "caption": ("greedy captions per CPU s, base, float32, batch 8, 20 tokens", "caption --batch 8 --tokens 20",
                "caption --batch 8 --tokens 20", "per_cpu_s", "least", 2.5),
    "caption-q8": ("the same of the q8 export in ONNX Runtime", "caption --batch 8 --tokens 20 --forms q8",
                   "caption --batch 8 --tokens 20", "per_cpu_s", "least", 4),
    "caption-int8": ("the same of the int8 export in ONNX Runtime", "caption --batch 8 --tokens 20 --forms int8",
                     "caption --batch 8 --tokens 20", "per_cpu_s", "least", 4),
    "caption-fp32": ("the same of the fp32 export in ONNX Runtime", "caption --batch 8 --tokens 20 --forms fp32",
                     "caption --batch 8 --tokens 20", "per_cpu_s", "least", None),
    "prepare": ("decode 640×480 JPEG and resize to 224, pictures per CPU s", "prepare {pictures}", "prepare {pictures}", "per_cpu_s", "least", 2),
    "stored": ("stored bytes of a picture with five captions", "prepare --rounds 1 {pictures}", "stored {pictures}", "bytes_per_picture", "most", 1 / 45),
}


def run(command):
    """The JSON objects a command prints, by their work."""
    quiet = dict(os.environ, TRANSFORMERS_VERBOSITY="error")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=quiet)
    if done.returncode:
        sys.exit(f"compare.py: {' '.join(command)}: exit status {done.returncode}")
    objects = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for o in objects:
        print(json.dumps(o), file=sys.stderr, flush=True)
    return objects


def value(objects, field):
    return next(o[field] for o in objects if field in o)


def compare(a, name, done):
    what, ours, reference, field, kind, target = ROWS[name]
    words = dict(pictures=a.pictures, steps=f"--steps {a.steps} --warmup {a.warmup}")
    ours = [a.program, "bench", *ours.format(**words).split(), "-o", "json"]
    reference = [a.python, os.path.join(HERE, "reference.py"), *reference.format(**words).split()]
    rounds = done.setdefault((*ours, *reference), [])  # two rows may look at the same runs
    while len(rounds) < a.rounds:
        rounds.append((run(reference), run(ours)))
    pairs = [(value(r, field), value(o, field)) for r, o in rounds]
    reference, ours = (statistics.median(side) for side in zip(*pairs))
    ratios = [o / r for r, o in pairs]
    scale = 1e9 if field == "peak_bytes" else 1
    goal = "" if target is None else f"{'≤' if kind == 'most' else '≥'} {target:.3g}"
    spread = f" ({min(ratios):.3g} to {max(ratios):.3g})" if len(ratios) > 1 else ""
    print(f"| {what} | {reference / scale:.4g} | {ours / scale:.4g} | {statistics.median(ratios):.3g}{spread} | {goal} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="training steps measured in a round")
    parser.add_argument("--warmup", type=int, default=3, help="training steps before those")
    parser.add_argument("--program", default=os.path.join(HERE, "..", "bin", "distilvit"))
    parser.add_argument("--python", default=os.environ.get("PYTHON", sys.executable))
    parser.add_argument("--pictures", help="directory of JPEG files for prepare and stored (default: 64 crops of skimage's photographs)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="of " + ", ".join(ROWS) + " (default: all)")
    a = parser.parse_args()
    unknown = [r for r in a.rows if r not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]}; rows are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory() as directory:
        if a.pictures is None:
            a.pictures = directory
            subprocess.run([a.python, os.path.join(HERE, "reference.py"), "pictures", directory], check=True)
        print("| what | reference | distilvit | ratio | target |\n|---|---|---|---|---|", flush=True)
        done = {}
        for name in a.rows or ROWS:
            compare(a, name, done)


if __name__ == "__main__":
    main()
