"""Makes testdata/layouts/: two pictures with captions in the layouts that other tools write.

    pip install webdataset==0.2.111 pillow==12.0.0
    python make_layouts.py

shard-00000{0,1}.tar are written by webdataset's own writer with the members that img2dataset
gives it; the zips are folders of pictures as the datasets library (metadata.csv, metadata.jsonl)
and captioning tools (a text beside each picture) leave them; llava.json is in the form of
LLaVA-Pretrain's blip_laion_cc_sbu_558k.json, lavis.json in that of LAVIS' annotations, meta_cap.json in that of
kohya-ss/sd-scripts (finetune/merge_captions_to_metadata.py, with --full_path).
"""
import io
import json
import zipfile
from pathlib import Path

import webdataset
from PIL import Image

OUT = Path(__file__).parent / "layouts"
PICTURES = [("a", "red"), ("b", "blue")]


def jpeg(color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "JPEG")
    return out.getvalue()


def captions(name: str) -> list[str]:
    return [f"Picture {name}, told first.", f"Picture {name}, told again."]


def pack(name: str, entries: dict[str, bytes | str]) -> None:
    with zipfile.ZipFile(OUT / name, "w") as z:
        for path, contents in entries.items():
            z.writestr(zipfile.ZipInfo(path), contents)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    pictures = {name: jpeg(color) for name, color in PICTURES}

    rows = "".join(f'{n}.jpg,"{c}"\n' for n in pictures for c in captions(n))
    pack("imagefolder_csv.zip", {"metadata.csv": "file_name,text\n" + rows}
         | {f"{n}.jpg": b for n, b in pictures.items()})
    lines = {n: json.dumps({"file_name": f"{n}.jpg", "captions": captions(n)}) + "\n" for n in pictures}
    pack("imagefolder_jsonl.zip", {
        "train/metadata.jsonl": lines["a"], "train/a.jpg": pictures["a"],
        "test/metadata.jsonl": lines["b"], "test/b.jpg": pictures["b"]})
    pack("beside_txt.zip", {"README.txt": "About these pictures."}
         | {f"photos/{n}.{e}": v for n in pictures for e, v in
            (("jpg", pictures[n]), ("txt", "\n".join(captions(n)) + "\n"))})
    pack("beside_caption.zip", {"a.JPG": pictures["a"], "b.jpg": pictures["b"]}
         | {f"{n}.caption": "\r\n".join(captions(n)) for n in pictures} | {"a.txt": "tags, not a caption"})
    pack("pictures.zip", {f"{n}.jpg": b for n, b in pictures.items()})

    for i, (n, b) in enumerate(pictures.items()):
        with webdataset.TarWriter(str(OUT / f"shard-{i:06d}.tar"), mtime=0, user="u", group="g") as w:
            about = {"caption": "not this one", "url": "https://example.org/" + n, "key": f"{i:09d}",
                     "status": "success", "width": 8, "height": 8, "captions": captions(n)}
            w.write({"__key__": f"{i:09d}", "jpg": b, "txt": "\n".join(captions(n)), "json": about})
            # Without a text, as img2dataset writes it where it is told to save the JSON alone.
            w.write({"__key__": f"{i + 10:09d}", "jpg": b, "json": {"caption": captions(n)[0]}})

    (OUT / "llava.json").write_text(json.dumps([
        {"id": f"00453/{n}", "image": f"00453/{n}.jpg", "conversations": [
            {"from": "human", "value": "Describe the picture.\n<image>"}, {"from": "gpt", "value": captions(n)[0]},
            {"from": "human", "value": "And its colour?"}, {"from": "gpt", "value": "Not asked."}]}
        for n in pictures] + [{"id": "text", "conversations": [
            {"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hello."}]}], indent=1))
    (OUT / "lavis.json").write_text(json.dumps([
        {"image": f"val2014/{n}.jpg", "caption": captions(n)} for n in pictures]))
    (OUT / "meta_cap.json").write_text(json.dumps(
        {f"/workspace/train/{n}.jpg": {"caption": captions(n)[0]} for n in pictures}, indent=2))


main()
