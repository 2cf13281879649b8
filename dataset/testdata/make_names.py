"""Makes testdata/names.json: how files of pictures are called, and what a URL's path is called on disk.

    pip install pillow==13.0.0 pillow-heif==1.8.1
    python make_names.py

"extensions" are those that Pillow and its plugin for HEIC register for formats of pictures.md; "urls" are paths of
Label Studio's exports and of lists of downloads, with what urllib makes of them.
"""
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pillow_heif
from PIL import Image

FORMATS = {"JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "HEIF"}
URLS = [
    "/data/upload/1/my%20photo.jpg", "my%20photo.jpg", "https://example.org/a/my%20photo.jpg?w=640&h=480",
    "http://example.org/a/plain.jpg#top", "s3://bucket/a/plain.jpg", "%C3%A7%C3%A9.jpg", "100%25.jpg",
    "/data/local-files/?d=a/plain.jpg", "file:///home/me/a/plain.jpg",
]

pillow_heif.register_heif_opener()
extensions = sorted(e for e, f in Image.registered_extensions().items() if f in FORMATS)
urls = {u: unquote(urlsplit(u).path).split("/")[-1] or unquote(u).split("/")[-1] for u in URLS}
out = Path(__file__).parent / "names.json"
out.write_text(json.dumps({"extensions": extensions, "urls": urls}, indent=1, ensure_ascii=False) + "\n")
