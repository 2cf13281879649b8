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

# Encodings that other writers choose, in both versions of pages, with nulls: polars, DuckDB,
# Spark and Arrow's newer defaults. flag, number and score are for conditions.
def mixed(n=9):
    return {
        "image": pa.array(
            [None if i == 4 else {"bytes": picture(i % 3), "path": f"folder/{i % 3:04d}.png"} for i in range(n)],
            pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]),
        ),
        "caption": pa.array([None if i == 2 else f"a long caption of picture {i}, and its end" for i in range(n)], pa.large_string()),
        "flag": pa.array([None if i == 5 else i % 2 == 0 for i in range(n)]),
        "number": pa.array([i * i - 7 - (1 << 40) * (i % 2) for i in range(n)], pa.int64()),
        "small": pa.array([(-1) ** i * (1 << 31) // (i + 1) - (i % 2 == 0) for i in range(n)], pa.int32()),
        "score": pa.array([None if i == 1 else i / 4 for i in range(n)], pa.float64()),
    }


delta = {
    "image.bytes": "DELTA_LENGTH_BYTE_ARRAY", "image.path": "DELTA_BYTE_ARRAY", "caption": "DELTA_BYTE_ARRAY",
    "number": "DELTA_BINARY_PACKED", "small": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT",
}
split = {**delta, "image.bytes": "DELTA_BYTE_ARRAY", "number": "BYTE_STREAM_SPLIT", "small": "BYTE_STREAM_SPLIT"}
for name, options in {
    "delta_v1.parquet": dict(use_dictionary=False, column_encoding=delta, compression="brotli"),
    "delta_v2.parquet": dict(use_dictionary=False, column_encoding=split, compression="lz4", data_page_version="2.0", row_group_size=4),
    "plain_v1.parquet": dict(use_dictionary=False, compression="snappy", row_group_size=5),
    "dictionary_v2.parquet": dict(compression="snappy", data_page_version="2.0", row_group_size=1),
}.items():
    arrow(name, mixed(), **options)
    expect_arrow(name, "image", "caption")
columns = {c: [str(v).lower() if isinstance(v, bool) else v for v in mixed()[c].to_pylist()] for c in ("flag", "number", "small", "score")}
with open(path("mixed.json"), "w") as f:
    json.dump(columns, f)
    f.write("\n")

# Lists in lists, as several annotators' sentences, named as older writers name the elements.
arrow(
    "nested.parquet",
    {
        "image": pa.array([picture(i) for i in range(3)], pa.binary()),
        "captions": pa.array([[["one", "two"], [], ["three"]], None, [[None, "four"], None]], pa.list_(pa.list_(pa.string()))),
    },
    use_compliant_nested_type=False,
)
expect("nested.parquet", [dict(image=picture(i), captions=c) for i, c in enumerate([["one", "two", "three"], [], ["four"]])])

# Deltas over many blocks, and numbers whose differences wrap around.
many = [rng.randrange(-(1 << 63), 1 << 63) if i % 3 == 0 else i for i in range(700)]
arrow(
    "many.parquet",
    {"image": pa.array([picture(0)] * 700, pa.binary()), "caption": [str(v) for v in many], "number": pa.array(many, pa.int64()),
     "small": pa.array([v % (1 << 32) - (1 << 31) for v in many], pa.int32())},
    use_dictionary=["image"], column_encoding={"caption": "DELTA_BYTE_ARRAY", "number": "DELTA_BINARY_PACKED", "small": "DELTA_BINARY_PACKED"},
)

# Pictures that are only named: nothing but paths in the struct, and a column of names.
arrow("paths.parquet", {"image": pa.array([{"bytes": None, "path": f"train2017/{i}.png"} for i in (1, 1, 2)], pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "caption": ["a", "b", "c"]})
arrow("layout.parquet", {"file_name": ["a.jpg", "b.jpg"], "captions": [[f"Picture {n}, told {how}." for how in ("first", "again")] for n in "ab"]})
arrow("names.parquet", {"file_name": ["1.png", "2.png", "3.png", None], "text": ["one", "two", "three", "none"]})

# Lists of pictures, as datasets for chat models have them: a row with one is read. Small pages, so that
# the list of a row goes on in the next page.
several = [[0], [1], [], None, [2, 3], [4], [None], [5, 6, 7, 8, 9], [1]]
arrow(
    "image_lists.parquet",
    {
        "images": pa.array(
            [None if l is None else [None if i is None else {"bytes": picture(i), "path": f"{i}.png"} for i in l] for l in several],
            pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ),
        "text": [f"row {i}" for i in range(len(several))],
    },
    use_dictionary=False, write_batch_size=1, data_page_size=1,
)
expect("image_lists.parquet", [dict(image=picture(l[0]) if l and len(l) == 1 and l[0] is not None else None, captions=[f"row {i}"]) for i, l in enumerate(several)])

# What is refused.
arrow("lists.parquet", {"images": [[{"bytes": b"x", "path": "p"}]], "image": [[["x"]]], "text": ["a"], "caption": ["b"]})

with open(path("expected.json"), "w") as f:
    json.dump(expected, f, indent=1)
    f.write("\n")
