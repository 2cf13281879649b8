"""Makes the golden files of this folder with Hugging Face's tokenizers.

    pip install tokenizers==0.22.2
    python make_golden.py
    go test .. -run 'TestTrain|Pruned' -update         # writes trained/, pruned/ and smollm2/pruned/ in Go
    python make_golden.py                              # and now the golden of these

captions.txt        what both trainers read
classes.txt.gz      letter, number, space or other: runs of all code points as the splitting regex sees them
hf/                 trained by tokenizers, saved as tokenizer.json and as vocab.json + merges.txt
odd/                hand-made: bytes missing, unknown token, added tokens of every kind
trained/            written by this package's Train and WriteDir
forms.json.gz       normalizers and pre_tokenizers of other byte-level models, and the ids of texts with hf's vocabulary
pruned/             written by this package's Prune and WriteDir: of hf/ what 20 captions are made of
smollm2/            trained by tokenizers with SmolLM2's pre-tokenizer and special tokens; of it pruned/ in Go, and its own golden.json.gz
golden.json.gz      texts, and for each tokenizer their ids and what decoding gives
"""
import gzip
import json
import os
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
EOT = "<|endoftext|>"
rng = random.Random(11)


def path(*names):
    os.makedirs(os.path.join(HERE, *names[:-1]), exist_ok=True)
    return os.path.join(HERE, *names)


def write_gz(name, text):
    with open(path(name), "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
        f.write(text.encode())


# --- code points --------------------------------------------------------------------------------
splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)


def class_of(c):
    if 0xD800 <= c < 0xE000:
        return "other"
    for name, before in [("letter", "a"), ("number", "1"), ("other", "!")]:
        if len(splitter.pre_tokenize_str(before + chr(c))) == 1:
            return name
    return "space"


runs, last = [], None
for c in range(0x110000):
    kind = class_of(c)
    if kind != last:
        runs.append(f"{c:x} {kind}\n")
        last = kind
write_gz("classes.txt.gz", "".join(runs))

# --- captions -----------------------------------------------------------------------------------
COUNTS = "a one two three four several many 10 2 a pair of".split(" ")
ADJECTIVES = "red blue small large old wooden grassy crowded snowy well-lit black-and-white young empty".split()
NOUNS = "dog dogs man woman child's bicycle bench kitchen train station bus giraffe pizza surfboard clock tower umbrella".split()
VERBS = "is standing|are sitting|runs|isn't looking|plays|is riding a horse|they're walking|holding|it'll jump|we've seen|I'm|he'd".split("|")
PLACES = ["on the beach", "in a field", "near the window", "at night", "next to a tree", "in front of the café", "in the 1990s", "(outside)", "under an umbrella."]


def caption():
    parts = [rng.choice(COUNTS), rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(VERBS), rng.choice(PLACES)]
    return " ".join(p for p in parts if rng.random() < 0.85)


captions = [caption() for _ in range(600)]
captions = [c.capitalize() if i % 5 == 0 else c for i, c in enumerate(captions)] + ["Ein Hund läuft über die Straße", "собака бежит по пляжу", "ビーチを走る犬"] * 3
with open(path("captions.txt"), "w") as f:
    f.write("".join(c + "\n" for c in captions))

# --- tokenizers ---------------------------------------------------------------------------------
def byte_level(model, prefix=False):
    tok = Tokenizer(model)
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.decoder = decoders.ByteLevel()
    return tok


hf = byte_level(models.BPE())
trainer = trainers.BpeTrainer(
    vocab_size=700, min_frequency=2, show_progress=False, special_tokens=[EOT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
)
hf.train_from_iterator(captions, trainer)
hf.save(path("hf", "tokenizer.json"))
hf.model.save(path("hf"))

saved = json.load(open(path("hf", "tokenizer.json")))
kept = [t for t in saved["model"]["vocab"] if not set("ZQ~ĩĬł") & set(t)]
vocab = {t: i for i, t in enumerate(kept + ["<unk>"])}
merges = [tuple(m) for m in saved["model"]["merges"] if not set("ZQ~ĩĬł") & set("".join(m))]
odd = byte_level(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, ignore_merges=True), prefix=True)
odd.add_special_tokens([AddedToken(EOT, special=True), AddedToken("<mask>", lstrip=True, special=True), AddedToken("<|end", special=True)])
odd.add_tokens(
    [
        AddedToken("two words", normalized=True),
        AddedToken("dog", single_word=True),
        AddedToken("<r>", rstrip=True),
        AddedToken("<b>", lstrip=True, rstrip=True),
        AddedToken("straße"),
        AddedToken("<mask>>", normalized=True),
    ]
)
odd.save(path("odd", "tokenizer.json"))

tokenizers = {"hf": hf, "odd": odd}
for name in ["trained", "pruned"]:
    if os.path.exists(path(name, "tokenizer.json")):
        tokenizers[name] = Tokenizer.from_file(path(name, "tokenizer.json"))

# --- texts --------------------------------------------------------------------------------------
texts = captions[:300]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u1680", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\x1f", "\u200b", "\ufeff", "\u180e"]
MARKS = ["\u0301", "\u0308", "\u20e3", "\u0e34", "\u093f", "\u05b0", "\u064b", "\u3099"]
EMOJI = ["😀", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "1️⃣", "❤️", "☺", "🫨", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "’s", "''s", "'re's", "' s", "'l", "'r", "'v", "'", "know'st", "'tis", "a's'd'll", " 's"]
SPECIALS = [EOT, EOT + EOT, "<|endoftext|", "<|endoftext>", "|endoftext|>", "<mask>", " <mask> ", "<mask>>", "<|end", "<r>  ", "  <b>\n", "two words", "dog", "dogs", "hotdog", "dog-", "_dog", "dog\u0301", "straße", "<unk>", "<s>"]
DIGITS = ["0", "12", "345678", "3.14", "1,000", "２３", "٣٤", "१२", "½", "²", "Ⅷ", "一二", "𝟘", "1st", "a1b2", "12'th"]
OTHER = ["!", "...", "?!", "—", "“q”", "(x)", "#@$%^&*", "\\n", "<br/>", "{}", "€", "©", "∑", "→", "\x00", "\x01\x02", "\x7f", "\x80", "\xad", "\ufffd", "\uffff", "\U0010ffff", "\ue000"]
WORDS = ["dog", "Dog", "DOG", "straße", "naïve", "Zürich", "собака", "犬", "ビーチ", "강아지", "كلب", "כלב", "कुत्ता", "หมา", "σκύλος", "շուն", "ძაღლი", "ውሻ", "ខ្ឆែ", "ཁྱི", "𐍈", "𝒟𝑜𝑔", "Ⴀ", "ǅ", "ª", "ʰ", "ﬁ", "ꟊ", "Ᲊ", "ꟍ", "\U00010d40", "\U0002ebf0", "Q~Z"]
GROUPS = [SPACES, MARKS, EMOJI, CONTRACTIONS, SPECIALS, DIGITS, OTHER, WORDS]
for group in GROUPS:
    for s in group:
        texts += [s, "a" + s, s + "a", " " + s, s + " ", "a " + s + " b", s + s, s * 5]
for _ in range(1500):
    texts.append("".join(rng.choice(rng.choice(GROUPS)) + rng.choice(["", "", " "]) for _ in range(rng.randint(2, 9))))
for _ in range(300):  # any characters at all
    chars = []
    while len(chars) < rng.randint(1, 12):
        c = chr(rng.choice([rng.randrange(0x20), rng.randrange(0x300), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x20000)]))
        if unicodedata.category(c) != "Cs":
            chars.append(c)
    texts.append("".join(chars))
for n in (47, 48, 49, 50, 100, 1000):  # words beyond every fast path
    texts += ["dog" * n, "a" * n, "犬" * n, "!" * n, " " * n, "9" * n, "".join(rng.choice("abcdehinorst") for _ in range(n))]
texts = list(dict.fromkeys(texts))

# Ids alone, so that decoding is tried on bytes that are no UTF-8.
random_ids = [[rng.randrange(720) for _ in range(rng.randint(1, 12))] for _ in range(200)]
random_ids += [[rng.randrange(256) for _ in range(rng.randint(1, 8))] for _ in range(400)]

golden = {"texts": texts, "random_ids": random_ids, "tokenizers": {}}
for name, tok in tokenizers.items():
    ids = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    golden["tokenizers"][name] = {
        "ids": ids,
        "decoded": [tok.decode(i, skip_special_tokens=False) for i in ids],
        "skipped": [tok.decode(i, skip_special_tokens=True) for i in ids],
        "random": [tok.decode(i, skip_special_tokens=False) for i in random_ids],
    }
write_gz("golden.json.gz", json.dumps(golden, ensure_ascii=False))
print(len(texts), "texts,", list(tokenizers))

# --- other forms --------------------------------------------------------------------------------
def pattern(numbers, contractions="(?i:'s|'t|'re|'ve|'m|'ll|'d)"):
    return Regex(contractions + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + numbers + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def level(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


GPT2 = Regex(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
WORDS_ONLY = Regex(r"\p{Lu}+\p{Ll}*|\p{Ll}+|\d+|\s|[\.!?\-]+")
sequence, split = pre_tokenizers.Sequence, pre_tokenizers.Split
forms = {
    "llama3": (None, sequence([split(pattern(r"\p{N}{1,3}"), "isolated"), level(regex=False)])),
    "qwen2": (normalizers.NFC(), sequence([split(pattern(r"\p{N}"), "isolated"), level(regex=False)])),
    "smollm2": (None, sequence([pre_tokenizers.Digits(individual_digits=True), level()])),
    "runs of digits": (None, sequence([pre_tokenizers.Digits(), level(prefix=True)])),
    "no regex": (None, level(regex=False)),
    "no regex, prefix": (None, level(prefix=True, regex=False)),
    "gpt2 as a pattern": (None, sequence([split(GPT2, "isolated"), level(regex=False)])),
    "removed": (None, sequence([split(WORDS_ONLY, "removed", invert=True), level(regex=False)])),
    "isolated, inverted": (None, sequence([split(WORDS_ONLY, "isolated", invert=True), level()])),
    "a text": (None, sequence([split("og", "isolated"), level()])),
    "nfc": (normalizers.NFC(), level()),
    "nfkc": (normalizers.NFKC(), level()),
    "nfd": (normalizers.NFD(), level()),
    "nfkd, lower": (normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()]), level()),
    "lower": (normalizers.Lowercase(), level()),
    "prepend, replace": (normalizers.Sequence([normalizers.Prepend("x "), normalizers.Replace("og", "ĀÖ")]), level()),
    "none": (normalizers.Sequence([]), sequence([level()])),
}
some = texts[300::3] + ["'ſ IT'S", "İstanbul ΣΑΣ ǅ ẞ", "e\u0301 ﬁ ① ｄｏｇ", "Two Words", "TWO WORDS", "a\n\n b \r\n", "1234567 12ab345", "don't  1  2"]
out = {}
for name, (normalizer, pre) in forms.items():
    tok = Tokenizer.from_file(path("hf", "tokenizer.json"))
    tok.add_tokens([AddedToken("Two Words", normalized=True), AddedToken("É!", normalized=True), AddedToken("<R>", normalized=False)])
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    file = json.loads(tok.to_str())
    tok = Tokenizer.from_str(tok.to_str())  # so that added tokens are normalized, as in a loaded file
    out[name] = {
        "normalizer": file["normalizer"], "pre_tokenizer": file["pre_tokenizer"], "added_tokens": file["added_tokens"],
        "ids": [tok.encode(t, add_special_tokens=False).ids for t in some],
    }
write_gz("forms.json.gz", json.dumps({"texts": some, "forms": out}, ensure_ascii=False))
print(len(some), "texts,", list(forms))

# --- SmolLM2 ------------------------------------------------------------------------------------
# Of HuggingFaceTB/SmolLM2-135M all but the vocabulary: its special tokens come first, and each digit stands alone.
SMOLLM2 = [EOT, "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>"]
SMOLLM2 += ["<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>"]
SMOLLM2 += ["<jupyter_output>", "<jupyter_script>", "<empty_output>"]
tok = Tokenizer(models.BPE())
tok.pre_tokenizer = sequence([pre_tokenizers.Digits(individual_digits=True), level()])
tok.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
tok.train_from_iterator(
    captions, trainers.BpeTrainer(vocab_size=600, min_frequency=2, show_progress=False, special_tokens=SMOLLM2, initial_alphabet=alphabet)
)
tok.save(path("smollm2", "tokenizer.json"))
roles = {"bos_token": EOT, "eos_token": EOT, "unk_token": EOT}
with open(path("smollm2", "tokenizer_config.json"), "w") as f:
    json.dump(
        {
            "add_prefix_space": False, **roles, "additional_special_tokens": SMOLLM2, "clean_up_tokenization_spaces": False,
            "model_max_length": 8192, "tokenizer_class": "GPT2Tokenizer", "vocab_size": 49152,
        },
        f, indent=1,
    )
some = texts[::9] + ["1990 12 345", "a 10-year-old at 12:30", "3 dogs2cats", "٣٤ ２３½"]
for t in SMOLLM2 + ["<|im_start|>user\nwhat is this?<|im_end|>\n", "<|im_start|>  <|im_end|>", "<|im_start", "im_start|>"]:
    some += [t, "a " + t + "b 7", t + t, t + " 1"]
out = {"texts": some, "tokenizers": {}}
for name in ["", "pruned"]:
    if not os.path.exists(path("smollm2", name, "tokenizer.json")):
        continue
    tok = Tokenizer.from_file(path("smollm2", name, "tokenizer.json"))
    ids = [tok.encode(t, add_special_tokens=False).ids for t in some]
    out["tokenizers"]["smollm2/" + name if name else "smollm2"] = {
        "ids": ids,
        "decoded": [tok.decode(i, skip_special_tokens=False) for i in ids],
        "skipped": [tok.decode(i, skip_special_tokens=True) for i in ids],
    }
write_gz("smollm2/golden.json.gz", json.dumps(out, ensure_ascii=False))
print(len(some), "texts,", list(out["tokenizers"]))
