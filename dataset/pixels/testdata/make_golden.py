"""Makes the golden pictures of this folder with Pillow.

    python3 -m venv .venv && .venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    .venv/bin/python make_golden.py

For each picture FILE, golden.json has the SHA-256 of convert("RGB") and of its
bilinear and bicubic resizes to the sizes named there; FILE.rgb has convert("RGB")
itself where the comparison is by distance (JPEG).
"""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
SIZES = [(16, 16), (24, 9), (7, 31), (64, 64), (37, 29)]
golden = {}


def scene(w, h, seed=0):
    """A smooth picture with edges: gradients, a disc, a few lines, some noise."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(float)
    a = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)], -1)
    disc = (x - w * 0.4) ** 2 + (y - h * 0.55) ** 2 < (min(w, h) * 0.3) ** 2
    a[disc] = [220, 40, 60]
    a[:: max(2, h // 5)] = [20, 200, 90]
    return np.clip(a + r.normal(0, 6, a.shape), 0, 255).astype(np.uint8)


def record(name, exact=True):
    im = Image.open(HERE / name)
    mode = im.mode
    im = im.convert("RGB")
    digest = lambda i: hashlib.sha256(i.tobytes()).hexdigest()
    entry = {"mode": mode, "width": im.width, "height": im.height, "exact": exact, "rgb": digest(im)}
    if exact:
        for filter in (2, 3):
            entry[f"resample{filter}"] = {f"{w}x{h}": digest(im.resize((w, h), filter)) for w, h in SIZES}
    else:
        (HERE / (name + ".rgb")).write_bytes(im.tobytes())
    golden[name] = entry


def save(name, im, exact=True, **options):
    im.save(HERE / name, **options)
    record(name, exact)


def raw_png(name, w, h, depth, colour, rows, chunks=b""):
    """A PNG that Pillow itself does not write."""
    chunk = lambda t, b: struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b))
    body = b"".join(b"\0" + row for row in rows)
    (HERE / name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0))
        + chunks + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b""))
    record(name)


def png_chunk(t, b):
    return struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b))


rgb = Image.fromarray(scene(45, 33))
alpha = Image.fromarray(np.linspace(0, 255, 45 * 33).reshape(33, 45).astype(np.uint8))
rgba = rgb.copy()
rgba.putalpha(alpha)
grey = rgb.convert("L")
deep = np.linspace(0, 65535, 20 * 12).reshape(12, 20).astype(np.uint16)
r = np.random.default_rng(7)

# PNG, every kind
save("rgb.png", rgb)
save("rgb_odd.png", Image.fromarray(scene(1, 1)))
save("rgb_thin.png", Image.fromarray(scene(3, 50)))
save("rgb_large.png", Image.fromarray(scene(200, 130, 3)), optimize=True)
save("rgba.png", rgba)
save("grey.png", grey)
save("grey_alpha.png", rgba.convert("LA"))
save("bilevel.png", rgb.convert("1"))
save("palette.png", rgb.quantize(19))
save("palette_transparent.png", rgb.quantize(8), transparency=3)
save("grey16_small.png", Image.fromarray((deep // 150).astype(np.uint16)))
save("grey16.png", Image.fromarray(deep))
for depth in (2, 4):
    row = bytes(r.integers(0, 256, 5, dtype=np.uint8))
    raw_png(f"grey{depth}.png", 40 // depth, 3, depth, 0, [row] * 3)
raw_png("rgb16.png", 6, 4, 16, 2, [r.integers(0, 256, 36, dtype=np.uint8).tobytes() for _ in range(4)])
raw_png("rgba16.png", 6, 4, 16, 6, [r.integers(0, 256, 48, dtype=np.uint8).tobytes() for _ in range(4)])
raw_png("grey_alpha16.png", 6, 4, 16, 4, [r.integers(0, 256, 24, dtype=np.uint8).tobytes() for _ in range(4)])
raw_png("grey16_transparent.png", 6, 4, 16, 0,
        [bytes([0, v, 0, 200, 1, 44, 0, 9, 0, 255, 255, 255]) for v in range(4)], png_chunk(b"tRNS", b"\0\x09"))
raw_png("rgb_transparent.png", 2, 1, 8, 2, [bytes([9, 8, 7, 200, 100, 50])], png_chunk(b"tRNS", b"\0\x09\0\x08\0\x07"))
raw_png("grey_transparent.png", 2, 1, 8, 0, [bytes([9, 200])], png_chunk(b"tRNS", b"\0\x09"))

# GIF: first frame, transparency, a frame smaller than the screen, interlaced
small = rgb.quantize(12)
save("first.gif", small, save_all=True, append_images=[Image.new("RGB", small.size, "red")])
save("transparent.gif", rgb.quantize(5), transparency=2)
save("grey.gif", grey)
save("interlaced.gif", rgb.quantize(30), interlace=1)
data = bytearray((HERE / "transparent.gif").read_bytes())
data[6:10] = struct.pack("<HH", 60, 40)  # a larger screen than the frame
(HERE / "offset.gif").write_bytes(data)
record("offset.gif")

# BMP, TIFF, WebP
save("rgb.bmp", rgb)
save("grey.bmp", grey)
save("palette.bmp", rgb.quantize(200))
save("rgba.bmp", rgba)
save("rgb.tiff", rgb)
save("rgba.tiff", rgba)
save("grey.tiff", grey)
save("bilevel.tiff", rgb.convert("1"))
save("palette.tiff", rgb.quantize(30))
save("lzw.tiff", rgb, compression="tiff_lzw")
save("deflate.tiff", rgb, compression="tiff_adobe_deflate")
save("packbits.tiff", grey, compression="packbits")
save("grey16.tiff", Image.fromarray(deep))
save("turned.tiff", rgb, tiffinfo={274: 6})
save("lossless.webp", rgb, lossless=True)
save("lossless_alpha.webp", rgba, lossless=True)
for w, h in ((45, 33), (44, 34), (1, 1), (2, 2), (3, 5)):
    save(f"lossy_{w}x{h}.webp", Image.fromarray(scene(w, h)), quality=80)
save("lossy_alpha.webp", rgba, quality=70)

# JPEG: near, not equal, because inverse transforms differ
for sub in (0, 1, 2):
    for w, h in ((45, 33), (64, 48)):
        save(f"sub{sub}_{w}x{h}.jpg", Image.fromarray(scene(w, h)), exact=False, quality=90, subsampling=sub)
save("tiny_3x2.jpg", Image.fromarray(scene(3, 2)), exact=False, quality=95)
save("tiny_5x5.jpg", Image.fromarray(scene(5, 5)), exact=False, quality=95)
save("progressive.jpg", rgb, exact=False, quality=85, progressive=True)
save("grey.jpg", grey, exact=False, quality=90)
save("cmyk.jpg", rgb.convert("CMYK"), exact=False, quality=95)

# the same scene under every EXIF orientation
for o in range(1, 9):
    exif = Image.Exif()
    exif[274] = o
    name = f"exif{o}.png"
    save(name, rgb.crop((0, 0, 16, 8)), exif=exif)
    upright = ImageOps.exif_transpose(Image.open(HERE / name).convert("RGB"))
    golden[name].update(turned=o != 1, upright=hashlib.sha256(upright.tobytes()).hexdigest())
exif = Image.Exif()
exif[274] = 8
save("exif8.jpg", rgb, exact=False, quality=90, exif=exif)
save("exif3.webp", rgb, lossless=True, exif=exif)
for name in ("exif8.jpg", "exif3.webp", "turned.tiff"):
    golden[name]["turned"] = True

(HERE / "golden.json").write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
print(len(golden), "pictures,", sum(f.stat().st_size for f in HERE.iterdir()), "bytes")
