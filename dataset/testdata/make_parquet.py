"""Makes parquet/: small files in the layouts that the datasets library and pyarrow
write, and expected.json with what those libraries read from them.

    python3 -m venv .venv && .venv/bin/pip install datasets==4.4.1 pyarrow==22.0.0 pillow==12.0.0
    .venv/bin/python make_parquet.py
"""

import hashlib
import io
import json
import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value
from PIL import Image as Pillow

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "parquet")
os.makedirs(here, exist_ok=True)
rng = random.Random(7)


def picture(i, side=8, noisy=False):
    im = Pillow.new("RGB", (side, side), (i * 20 % 256, 30, 40))
    if noisy:
        im.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(side * side)])
    out = io.BytesIO()
    im.save(out, "PNG")
    return out.getvalue()


def captions(i):
    return [f"picture {i}, told {how}." for how in ("once", "twice", "three times")[: i % 3 + 1]]


expected = {}


def expect(name, rows):
    expected[name] = [
        {"sha256": hashlib.sha256(r["image"]).hexdigest() if r["image"] else "", "captions": r["captions"], "split": r.get("split", "")}
        for r in rows
    ]


def path(name):
    return os.path.join(here, name)


# The datasets library's own writer: struct of bytes and path, a list of captions.
rows = [
    {"image": {"bytes": picture(i), "path": f"{i:04d}.png"}, "caption": captions(i), "split": ["train", "val", "test", "restval"][i % 4], "img_id": str(i)}
    for i in range(11)
]
features = Features({"image": Image(), "caption": Sequence(Value("string")), "split": Value("string"), "img_id": Value("string")})
Dataset.from_list(rows, features=features).to_parquet(path("hf_list.parquet"), batch_size=4)
expect("hf_list.parquet", [dict(image=r["image"]["bytes"], captions=r["caption"], split=r["split"]) for r in rows])

# A caption a row, rows of one picture beside each other, ClassLabel splits, null captions.
rows = [
    {"image": {"bytes": picture(i // 2), "path": f"{i // 2:04d}.png"}, "text": None if i == 5 else f"row {i}", "split": i // 2 % 2, "picture_id": i // 2}
    for i in range(8)
]
features = Features({"image": Image(), "text": Value("large_string"), "split": ClassLabel(names=["train", "test"]), "picture_id": Value("int64")})
Dataset.from_list(rows, features=features).to_parquet(path("hf_rows.parquet"))
expect(
    "hf_rows.parquet",
    [dict(image=r["image"]["bytes"], captions=[r["text"]] if r["text"] else [], split=["train", "test"][r["split"]]) for r in rows],
)


def arrow(name, columns, **options):
    pq.write_table(pa.table(columns), path(name), **options)


def image_struct(n, null=(), **how):
    return pa.array(
        [None if i in null else {"bytes": picture(i, **how), "path": f"{i}.png"} for i in range(n)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )


def expect_arrow(name, image, column):
    got = pq.read_table(path(name))
    images = [v["bytes"] if isinstance(v, dict) else v for v in got[image].to_pylist()]
    texts = got[column].to_pylist()
    flat = [[c["raw"] if isinstance(c, dict) else c for c in (t if isinstance(t, list) else [t]) if c] if t else [] for t in texts]
    expect(name, [dict(image=i, captions=c) for i, c in zip(images, flat)])


# Version 2 pages, zstd, no dictionary, plain bytes, small pages, several row groups.
arrow(
    "plain_v2_zstd.parquet",
    {"jpg": pa.array([picture(i, 16, True) for i in range(12)], pa.binary()), "caption": pa.array([f"caption {i}" for i in range(12)], pa.large_string())},
    compression="zstd", use_dictionary=False, data_page_version="2.0", data_page_size=1, write_batch_size=2, row_group_size=5, write_page_checksum=True,
)
expect_arrow("plain_v2_zstd.parquet", "jpg", "caption")

# A list of structs, as COCO's conversions have, gzip, null pictures and lists.
arrow(
    "sentences_gzip.parquet",
    {
        "image": image_struct(6, null=(3,)),
        "sentences": pa.array(
            [None if i == 2 else [{"raw": f"sentence {i}.{k}", "sentid": k} for k in range(i)] for i in range(6)],
            pa.list_(pa.struct([("raw", pa.string()), ("sentid", pa.int32())])),
        ),
    },
    compression="gzip", use_dictionary=["sentences.list.element.raw"], write_batch_size=2, data_page_size=1,
)
expect_arrow("sentences_gzip.parquet", "image", "sentences")

# Two files of one source, uncompressed, with a dictionary and without.
for part in range(2):
    name = f"part-{part:05d}-of-00002.parquet"
    arrow(name, {"image": image_struct(3), "caption": [f"part {part} row {i}" for i in range(3)]}, compression="none", use_dictionary=part == 0)
    expect_arrow(name, "image", "caption")

# What is refused.
arrow("brotli.parquet", {"image": image_struct(2), "caption": ["a", "b"]}, compression="brotli")
arrow("delta.parquet", {"image": image_struct(2), "caption": ["a", "b"]}, use_dictionary=False, column_encoding={"caption": "DELTA_BYTE_ARRAY"})
arrow("lists.parquet", {"images": [[{"bytes": b"x", "path": "p"}]], "image": [["x"]], "text": ["a"], "caption": ["b"]})

with open(path("expected.json"), "w") as f:
    json.dump(expected, f, indent=1)
    f.write("\n")
