"""Writes phash.json: ImageHash's phash of the pictures that distilvit's examples and tests have.

pip install ImageHash==4.3.2 Pillow==13.0.0; run here. The pictures are resized in RGB before they are made grey,
as distilvit does; ImageHash makes them grey first, which rounds otherwise: "whole" is its own answer.
"""
import json

import imagehash
from PIL import Image

PICTURES = [
    "../../../examples/pictures/blue-circle-and-two-yellow-crosses.png",
    "../../../examples/pictures/red-star-red-cross-black-star.png",
    "../../../examples/pictures/three-red-squares.png",
    "../../../examples/pictures/yellow-circle-and-star.png",
    "../../pixels/testdata/lossless.webp",
    "../../pixels/testdata/exif3.png",
    "../../pixels/testdata/grey.png",
    "../../pixels/testdata/palette.png",
]

found = []
for name in PICTURES:
    image = Image.open(name).convert("RGB")
    small = image.resize((32, 32), Image.Resampling.LANCZOS)
    found.append({"file": name, "resized": str(imagehash.phash(small)), "whole": str(imagehash.phash(image))})
with open("phash.json", "w") as f:
    json.dump(found, f, indent=1)
    f.write("\n")
