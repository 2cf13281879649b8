"""Makes the pictures of formats/ with Pillow: forms that people bring, and damaged files that Pillow reads.

    python3 -m venv .venv && .venv/bin/pip install pillow==13.0.0 numpy==2.4.6
    .venv/bin/python make_formats.py

formats.json has of each the size and the SHA-256 of convert("RGB"); where pixels come from a lossy decoder that
may differ a little (near), formats/FILE.rgb has convert("RGB") itself.
"""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).parent / "formats"
OUT.mkdir(exist_ok=True)
golden = {}
r = np.random.default_rng(11)


def scene(w, h):
    y, x = np.mgrid[0:h, 0:w].astype(float)
    a = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)], -1)
    a[(x - w * 0.4) ** 2 + (y - h * 0.55) ** 2 < (min(w, h) * 0.3) ** 2] = [220, 40, 60]
    a[:: max(2, h // 5)] = [20, 200, 90]
    return np.clip(a + r.normal(0, 6, a.shape), 0, 255).astype(np.uint8)


def record(name, near=False):
    im = Image.open(OUT / name)
    mode = im.mode
    im = im.convert("RGB")
    if near:
        (OUT / (name + ".rgb")).write_bytes(im.tobytes())
    golden[name] = {"mode": mode, "width": im.width, "height": im.height, "near": near,
                    "rgb": hashlib.sha256(im.tobytes()).hexdigest()}


def save(name, im, near=False, **options):
    im.save(OUT / name, **options)
    record(name, near)


def write(name, data, near=False):
    (OUT / name).write_bytes(data)
    record(name, near)


def chunk(t, b, crc=None):
    return struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b) if crc is None else crc)


def filtered(packed, pixel):
    """PNG's filters, each in turn, on rows of bytes."""
    out, above = b"", bytes(len(packed[0]))
    for y, row in enumerate(packed):
        f = (y + 1) % 5
        line = bytearray()
        for i, v in enumerate(row):
            a, b, c = row[i - pixel] if i >= pixel else 0, above[i], above[i - pixel] if i >= pixel else 0
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            best = a if pa <= pb and pa <= pc else b if pb <= pc else c
            line.append((v - [0, a, b, (a + b) // 2, best][f]) % 256)
        out += bytes([f]) + bytes(line)
        above = row
    return out


def pack(samples, depth):
    """Rows of bytes of an array [height, width, channels]."""
    rows = []
    for row in samples:
        flat = row.reshape(-1)
        if depth == 16:
            rows.append(flat.astype(">u2").tobytes())
        elif depth == 8:
            rows.append(flat.astype(np.uint8).tobytes())
        else:
            bits = ((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)
            rows.append(np.packbits(bits).tobytes())
    return rows


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(samples, depth, colour, interlaced=False, idat=4000, tail=b"", end=True, crc=None, spoil=False):
    h, w = samples.shape[:2]
    pixel = max(1, depth * CHANNELS[colour] // 8)
    if interlaced:
        body = b""
        for x, y, dx, dy in ADAM7:
            part = samples[y::dy, x::dx]
            if part.size:
                body += filtered(pack(part, depth), pixel)
    else:
        body = filtered(pack(samples, depth), pixel)
    data = zlib.compress(body + tail)
    if spoil:
        data = data[:-4] + b"\0\0\0\0"
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlaced))
    if colour == 3:
        table = r.integers(0, 256, 3 * min(256, 1 << depth) - 3, dtype=np.uint8).tobytes()
        out += chunk(b"PLTE", table)
    for i in range(0, len(data), idat):
        out += chunk(b"IDAT", data[i:i + idat], crc)
    return out + (chunk(b"IEND", b"") if end else b"")


# every kind of PNG, with every filter, plain and interlaced, of odd sizes
for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
    for depth in depths:
        most = (1 << depth) - (1 if colour == 3 else 0)  # the last entry of a palette is left out
        samples = r.integers(0, max(1, most), (13, 19, CHANNELS[colour])).astype(np.uint32)
        write(f"c{colour}_{depth}.png", png(samples, depth, colour, idat=100))
        write(f"c{colour}_{depth}_interlaced.png", png(samples, depth, colour, interlaced=True))
for w, h in ((1, 1), (3, 2), (5, 1), (1, 9)):
    write(f"interlaced_{w}x{h}.png", png(scene(w, h).astype(np.uint32), 8, 2, interlaced=True))
big = scene(61, 47).astype(np.uint32)
write("extra_rows.png", png(big, 8, 2, tail=bytes(500)))
write("no_iend.png", png(big, 8, 2, end=False))
write("bad_idat_crc.png", png(big, 8, 2, crc=7))
(OUT / "bad_adler.png").write_bytes(png(big, 8, 2, spoil=True))
try:
    record("bad_adler.png")
    raise SystemExit("Pillow reads a wrong check sum")
except OSError:
    pass
write("junk_behind.png", png(big, 8, 2) + b"junk" * 9)

# WebP: animations
first, second = Image.fromarray(scene(45, 33)), Image.fromarray(scene(45, 33))
save("animated.webp", first, save_all=True, append_images=[second], quality=80)
save("animated_lossless.webp", first, save_all=True, append_images=[second], lossless=True)
alpha = first.copy()
alpha.putalpha(Image.fromarray(np.linspace(0, 255, 45 * 33).reshape(33, 45).astype(np.uint8)))
save("animated_alpha.webp", alpha, save_all=True, append_images=[second.convert("RGBA")], quality=80)
save("animated_alpha_lossless.webp", alpha, save_all=True, append_images=[second.convert("RGBA")], lossless=True)
data = bytearray((OUT / "animated_alpha.webp").read_bytes())
data[24:30] = (59).to_bytes(3, "little") + (39).to_bytes(3, "little")  # a canvas of 60x40
at = data.index(b"ANMF") + 8
data[at:at + 6] = (3).to_bytes(3, "little") + (2).to_bytes(3, "little")  # the frame at 6,4
write("animated_offset.webp", bytes(data))

# BMP
rgb = Image.fromarray(scene(37, 21))
save("bilevel.bmp", rgb.convert("1"))


def bmp(w, h, bits, rows, table=b"", compression=0, info=40, masks=b"", gap=0, colours=0):
    stride = (w * bits + 31) // 32 * 4
    body = b"".join(row.ljust(stride, b"\0") for row in rows)
    if info == 12:
        head = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", info, w, h, 1, bits, compression, len(body), 0, 0, colours, 0)
        head += masks.ljust(info - 40, b"\0") if info > 40 else masks
    at = 14 + len(head) + len(table) + gap
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + head + table + bytes(gap) + body


def rows_of(w, h, bits):
    return [r.integers(0, 256, (w * bits + 7) // 8, dtype=np.uint8).tobytes() for _ in range(abs(h))]


def table_of(n, entry=4):
    t = r.integers(0, 256, (n, entry), dtype=np.uint8)
    if entry == 4:
        t[:, 3] = 0
    return t.tobytes()


write("palette1.bmp", bmp(37, 11, 1, rows_of(37, 11, 1), table_of(2)))
write("palette4.bmp", bmp(37, 11, 4, rows_of(37, 11, 4), table_of(16)))
write("palette8_gap.bmp", bmp(37, 11, 8, rows_of(37, 11, 8), table_of(256), gap=7))
write("palette4_top.bmp", bmp(37, -11, 4, rows_of(37, 11, 4), table_of(16)))
write("os2_4.bmp", bmp(37, 11, 4, rows_of(37, 11, 4), table_of(16, 3), info=12))
write("os2_24.bmp", bmp(37, 11, 24, rows_of(37, 11, 24), info=12))
write("rgb555.bmp", bmp(37, 11, 16, rows_of(37, 11, 16)))
write("rgb565.bmp", bmp(37, 11, 16, rows_of(37, 11, 16), compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)))
write("bgrx.bmp", bmp(37, 11, 32, rows_of(37, 11, 32)))
write("xbgr.bmp", bmp(37, 11, 32, rows_of(37, 11, 32), compression=3, info=108,
                      masks=struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)))

# TIFF: JPEG (image/jpeg is near), CMYK, faxes
tall = Image.fromarray(scene(70, 90))
save("jpeg_rgb.tiff", tall, near=True, compression="jpeg", quality=90)
save("jpeg_ycbcr.tiff", tall.convert("YCbCr"), near=True, compression="jpeg", quality=90)
save("jpeg_grey.tiff", tall.convert("L"), near=True, compression="jpeg", quality=90)
save("jpeg_strips.tiff", tall, near=True, compression="jpeg", quality=90, strip_size=70 * 3 * 32)
cmyk = Image.fromarray(np.dstack([scene(31, 22), scene(31, 22)[:, :, :1] // 3]), "CMYK")
save("cmyk.tiff", cmyk)
save("cmyk_lzw.tiff", cmyk, compression="tiff_lzw")
save("cmyk_deflate.tiff", cmyk, compression="tiff_adobe_deflate")
bilevel = Image.fromarray(scene(75, 40)).convert("1")
for name in ("group3", "group4"):
    for photometric in (0, 1):
        save(f"{name}_{photometric}.tiff", bilevel, compression=name, tiffinfo={262: photometric})
# What Pillow reads and distilvit refuses by name
cmyk.save(OUT / "refused_cmyk_jpeg.tiff", compression="jpeg")
bilevel.save(OUT / "refused_fax_2d.tiff", compression="group3", tiffinfo={292: 1})
bilevel.save(OUT / "refused_fax_bytes.tiff", compression="group3", tiffinfo={292: 4})

# AVIF
photo = Image.fromarray(scene(64, 48))
for sub in ("4:2:0", "4:2:2", "4:4:4", "4:0:0"):
    save(f"sub{sub.replace(':', '')}.avif", photo, near=True, quality=85, subsampling=sub)
save("odd.avif", Image.fromarray(scene(45, 33)), near=True, quality=85)
clear = photo.copy()
clear.putalpha(Image.fromarray(np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)))
save("alpha.avif", clear, near=True, quality=85)
save("animated.avif", photo, near=True, save_all=True, append_images=[Image.fromarray(scene(64, 48))], quality=85)
for o in range(1, 9):
    exif = Image.Exif()
    exif[274] = o
    name = f"exif{o}.avif"
    save(name, photo.crop((0, 0, 32, 16)), near=True, quality=85, exif=exif)
    golden[name]["orientation"] = Image.open(OUT / name).getexif().get(274, 1)


# BMP in runs (RLE)
def runs(indexes, rle4, delta=False):
    """Rows from the bottom: runs, then single pixels in absolute mode, in turn; a skip, and rows that end early."""
    pack4 = lambda v: bytes((a << 4) | b for a, b in zip(v[::2], list(v[1::2]) + [0] * (len(v) % 2)))
    out = b""
    for y, row in enumerate(indexes[::-1]):
        x, w = 0, len(row) - (5 if y % 4 == 3 else 0)
        if delta and y == 4:
            out += bytes([0, 2, 6, 2])  # six to the right, two rows up
            x = 6
        while x < w:
            n = min(w - x, int(r.integers(3, 9)))
            part = [int(v) for v in row[x:x + n]]
            if n < 3 or (x + y) % 3 == 0:
                part = [part[0], part[1 % n]] if rle4 else [part[0]] * 2
                out += bytes([n, pack4(part)[0] if rle4 else part[0]])
            else:
                body = pack4(part) if rle4 else bytes(part)
                out += bytes([0, n]) + body + bytes(len(body) % 2)
            x += n
        out += bytes([0, 0])
    return out + bytes([0, 1])


for bits, compression in ((8, 1), (4, 2)):
    for name, delta, gap in (("", False, 0), ("_delta", True, 0), ("_odd", False, 3)):
        w, h = 37, 14
        stream = runs(r.integers(0, 1 << bits, (h, w)), bits == 4, delta)
        write(f"rle{bits}{name}.bmp", bmp(w, h, bits, [stream], table_of(1 << bits), compression, gap=gap))
stream = bytes([255, 3, 9, 4, 0, 0] * 4)  # runs beyond their row
write("rle8_long.bmp", bmp(20, 4, 8, [stream], table_of(256), 1))

(Path(__file__).parent / "formats.json").write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
print(len(golden), "pictures,", sum(f.stat().st_size for f in OUT.iterdir()), "bytes")
