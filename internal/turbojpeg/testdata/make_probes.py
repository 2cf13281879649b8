"""Makes this folder's JPEGs and the digest of their pixels, with Pillow 13.0.0 and NumPy.

    python make_probes.py

CMYK pixels are as they stand in the file, before Pillow inverts them.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

HERE = Path(__file__).parent
r = np.random.default_rng(1)
y, x = np.mgrid[0:27, 0:37].astype(float)
a = np.stack([x * 7, y * 9, (x + y) * 4], -1)
a[(x - 20) ** 2 + (y - 12) ** 2 < 60] = [220, 40, 60]
rgb = Image.fromarray(np.clip(a + r.normal(0, 8, a.shape), 0, 255).astype(np.uint8))

for name, im, options in (
    ("444", rgb, dict(subsampling="4:4:4")),
    ("422", rgb, dict(subsampling="4:2:2")),
    ("420", rgb, dict(subsampling="4:2:0")),
    ("progressive", rgb, dict(progressive=True)),
    ("grey", rgb.convert("L"), {}),
    ("cmyk", rgb.convert("CMYK"), {}),
):
    im.save(HERE / f"{name}.jpg", quality=85, optimize=True, **options)

# The encoder has no 4:4:0. A 4:2:2 file with its sampling factors exchanged is one; of 3 by 4 units of 16 by 8
# pixels become 4 by 3 of 8 by 16.
raw = bytearray((HERE / "422.jpg").read_bytes())
frame = raw.index(b"\xff\xc0")
assert raw[frame + 11] == 0x21
raw[frame + 11] = 0x12
raw[frame + 5 : frame + 9] = bytes([0, 45, 0, 30])  # height, width
(HERE / "440.jpg").write_bytes(raw)

# The encoder writes no YCCK, but CMYK that says it were is some.
raw = bytearray((HERE / "cmyk.jpg").read_bytes())
adobe = raw.index(b"Adobe")
assert raw[adobe + 11] == 0
raw[adobe + 11] = 2
(HERE / "ycck.jpg").write_bytes(raw)

digest = hashlib.sha256()
for path in sorted(HERE.glob("*.jpg")):
    im = Image.open(path)
    digest.update((ImageChops.invert(im) if im.mode == "CMYK" else im.convert("RGB")).tobytes())
(HERE / "pixels.sha256").write_text(digest.hexdigest() + "\n")
