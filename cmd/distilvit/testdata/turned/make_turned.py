"""Makes pictures that lie on their side and say so in an EXIF tag, and what transformers' pipelines make of them.

    pip install transformers==4.57.1 pillow==13.0.0 numpy==2.4.6
    python make_turned.py

N.png has the orientation N; N-upright.png is what transformers.image_utils.load_image reads, which every pipeline
calls, and has no tag.
"""
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.image_utils import load_image

OUT = Path(__file__).parent
rng = np.random.default_rng(7)
rows, columns = np.mgrid[0:24, 0:40]
pixels = np.stack([columns * 6, rows * 10, (rows + columns) * 4], -1).astype("uint8")
pixels[:8, :12] = rng.integers(0, 255, (8, 12, 3))
for orientation in range(2, 9):
    exif = Image.Exif()
    exif[274] = orientation
    file = OUT / f"{orientation}.png"
    Image.fromarray(pixels).save(file, exif=exif)
    load_image(str(file)).save(OUT / f"{orientation}-upright.png", exif=Image.Exif())
