"""Makes captions/: small datasets in the layouts of COCO's official zips, Karpathy's
split files, Flickr8k and Flickr30k, with pictures and captions of our own.

    python3 -m venv .venv && .venv/bin/pip install pillow==12.0.0
    .venv/bin/python make_captions.py
"""

import csv
import io
import json
import os
import zipfile

from PIL import Image

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captions")
os.makedirs(here, exist_ok=True)


def path(name):
    return os.path.join(here, name)


def jpeg(i):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (i * 30 % 256, 80, 160)).save(out, "JPEG")
    return out.getvalue()


def archive(name, entries):
    with zipfile.ZipFile(path(name), "w", zipfile.ZIP_DEFLATED) as z:
        for entry, contents in entries:
            z.writestr(zipfile.ZipInfo(entry, (2014, 1, 1, 0, 0, 0)), contents)


def told(i, n):
    return [f"Picture {i} told {k}." for k in range(n)]


# COCO: a zip with a folder of pictures for each part, one with all annotations.
def coco_name(part, i):
    return f"COCO_{part}_{i:012d}.jpg" if "2014" in part else f"{i:012d}.jpg"


def coco_annotations(part, ids):
    return json.dumps({
        "info": {"description": "COCO 2017 Dataset", "url": "", "version": "1.0", "year": 2017, "contributor": "", "date_created": "2017/09/01"},
        "licenses": [{"url": "", "id": 1, "name": "Attribution License"}],
        "images": [
            {"license": 1, "file_name": coco_name(part, i), "coco_url": "", "height": 8, "width": 8, "date_captured": "2013-11-14 17:02:52", "flickr_url": "", "id": i}
            for i in ids
        ],
        "annotations": [{"image_id": i, "id": 10 * i + k, "caption": c} for k in range(5) for i in ids for c in [told(i, 5)[k]]],
    })


for part, ids in (("train2014", [9, 25]), ("val2014", [42, 73, 74]), ("train2017", [9, 25, 42])):
    archive(part + ".zip", [(part + "/", b"")] + [(f"{part}/{coco_name(part, i)}", jpeg(i)) for i in ids])
archive(
    "annotations_trainval2017.zip",
    [
        ("annotations/instances_train2017.json", json.dumps({"images": [], "annotations": [], "categories": []})),
        ("annotations/captions_train2017.json", coco_annotations("train2017", [9, 25, 42])),
        ("annotations/captions_val2017.json", coco_annotations("val2017", [139])),
    ],
)


# Karpathy's splits, of COCO and of Flickr30k.
def sentences(i, imgid, n=5):
    return [{"tokens": c.lower().rstrip(".").split(), "raw": c, "imgid": imgid, "sentid": 10 * imgid + k} for k, c in enumerate(told(i, n))]


coco = [
    (part, i, split)
    for part, i, split in (("val2014", 42, "test"), ("train2014", 9, "train"), ("val2014", 73, "restval"), ("train2014", 25, "train"), ("val2014", 74, "val"))
]
with open(path("dataset_coco.json"), "w") as f:
    json.dump({
        "images": [
            {
                "filepath": part, "sentids": [10 * n + k for k in range(5)], "filename": coco_name(part, i), "imgid": n, "split": split,
                "sentences": sentences(i, n), "cocoid": i,
            }
            for n, (part, i, split) in enumerate(coco)
        ],
        "dataset": "coco",
    }, f)
flickr = [(1000092795, "train"), (1001573224, "val"), (2199200615, "test")]
with open(path("dataset_flickr30k.json"), "w") as f:
    json.dump({
        "images": [
            {"sentids": [10 * n + k for k in range(5)], "imgid": n, "sentences": sentences(i, n), "split": split, "filename": f"{i}.jpg"}
            for n, (i, split) in enumerate(flickr)
        ],
        "dataset": "flickr30k",
    }, f)
archive("flickr30k-images.zip", [("flickr30k-images/", b"")] + [(f"flickr30k-images/{i}.jpg", jpeg(n)) for n, (i, _) in enumerate(flickr)])

# Flickr30k's own table; one line of it lacks a separator, as in the original.
with open(path("results.csv"), "w") as f:
    f.write("image_name| comment_number| comment\n")
    for i, _ in flickr:
        for k, c in enumerate(told(i, 5)):
            gap = "   " if (i, k) == (2199200615, 4) else "| "
            f.write(f'{i}.jpg| {k}{gap}{c.rstrip(".")} , "so to speak" .\n')

# The hub's table of it: captions as JSON lists.
with open(path("flickr_annotations_30k.csv"), "w", newline="") as f:
    w = csv.writer(f, lineterminator="\n")
    w.writerow(["raw", "sentids", "split", "filename", "img_id"])
    for n, (i, split) in enumerate(flickr):
        w.writerow([json.dumps(told(i, 5)), json.dumps([10 * n + k for k in range(5)]), split, f"{i}.jpg", n])

# Flickr8k: captions.txt, and the older token file.
with open(path("captions.txt"), "w") as f:
    f.write("image,caption\n")
    for i, _ in flickr:
        f.writelines(f'{i}.jpg,"{c}"\n' if k else f"{i}.jpg,{c}\n" for k, c in enumerate(told(i, 5)))
with open(path("Flickr8k.token.txt"), "w") as f:
    for i, _ in flickr:
        f.writelines(f"{i}.jpg#{k}\t{c}\n" for k, c in enumerate(told(i, 5)))
