"""Makes processors.json from transformers' image processors: python make_processors.py (transformers
4.57.1, Pillow 13.0.0). Each entry is a preprocessor_config.json and, for pictures of this folder, the
SHA-256 of the RGB pixels [height, width, 3] before they are rescaled."""
import hashlib, json, pathlib

import numpy as np
from PIL import Image
from transformers import BitImageProcessor, CLIPImageProcessor, DeiTImageProcessor, SiglipImageProcessor, ViTImageProcessor

HERE = pathlib.Path(__file__).parent
PICTURES = ["rgb_large.png", "rgb_odd.png", "rgb_thin.png", "palette.png", "grey.png", "exif6.png", "rgb.bmp", "lossless.webp"]
SQUARE = lambda n: {"height": n, "width": n}

PROCESSORS = {
    "vit": ViTImageProcessor(size=SQUARE(32)),
    "siglip": SiglipImageProcessor(size=SQUARE(32)),
    "siglip-wide": SiglipImageProcessor(size={"height": 24, "width": 40}),
    "clip": CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE(32)),
    "clip-old": CLIPImageProcessor(size=32, crop_size=32),
    "clip-odd": CLIPImageProcessor(size={"shortest_edge": 37}, crop_size={"height": 20, "width": 31}),
    "clip-square": CLIPImageProcessor(size=SQUARE(32), do_center_crop=False),
    "clip-default": CLIPImageProcessor(),
    "dinov2": BitImageProcessor(size={"shortest_edge": 36}, crop_size=SQUARE(28), image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
    "dinov2-nearest": BitImageProcessor(size={"shortest_edge": 36}, crop_size=SQUARE(28), resample=0),
    "deit": DeiTImageProcessor(size=SQUARE(36), crop_size=SQUARE(32)),
}
# files as they are written by hand or were by older versions: what is absent is the type's default
SHORT = {
    "clip-old": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "do_center_crop": True},
    "clip-default": {"image_processor_type": "CLIPImageProcessor"},
}

golden = []
for name, p in PROCESSORS.items():
    pixels = {}
    for picture in PICTURES:
        rgb = Image.open(HERE / picture).convert("RGB")
        (x,) = p(images=[rgb], do_rescale=False, do_normalize=False, input_data_format="channels_last", return_tensors="np")["pixel_values"]
        assert x.dtype == np.uint8
        pixels[picture] = hashlib.sha256(np.ascontiguousarray(x.transpose(1, 2, 0)).tobytes()).hexdigest()
    config = SHORT.get(name, json.loads(p.to_json_string()))
    golden.append({"name": name, "config": config, "mean": p.image_mean, "std": p.image_std, "pixels": pixels})
(HERE / "processors.json").write_text(json.dumps(golden, indent=1) + "\n")
