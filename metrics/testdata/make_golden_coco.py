"""Makes golden_coco.json.gz, what pycocoevalcap computes for made-up captions, and
meteor/, the little data that METEOR has in one of the two ways it is run here.

    Python 3.11, Java 17
    pip install pycocoevalcap==1.2 pycocotools==2.0.11 numpy==2.4.6
    LC_ALL=C.UTF-8 python make_golden_coco.py

Every caption below is written or put together here; none is from a data set. The
file holds for each corpus its captions, the scores of the corpus and of each
example, and for the tokenizer each line with the words that are left of it.

METEOR's own data is not in the repository. So "meteor" are the scores with it, which
are compared where DISTILVIT_METEOR_DATA names it, and "meteor_small" those with the
words, synonyms and paraphrases written below, which always are.
"""
import gzip
import json
import os
import random
import subprocess
import sys
import threading

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
rng = random.Random(11)


def write(name, value):
    with open(os.path.join(HERE, name), "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
            f.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


# --- captions -----------------------------------------------------------------------------------
WHO = """man|woman|boy|girl|young man|little girl|old woman|group of people|crowd|couple|baseball player|skateboarder|surfer|
chef|police officer|dog|small dog|black cat|kitten|brown horse|two zebras|herd of cows|giraffe|elephant|flock of birds|sheep|bear|
bus|red double-decker bus|train|truck|motorcycle|airplane|boat|bicycle|fire hydrant|stop sign|clock tower|traffic light|bench""".replace("\n", "").split("|")
DOES = """standing|sitting|walking|running|riding a wave|playing a game of tennis|holding an umbrella|eating a sandwich|looking at the camera|
parked|flying|grazing|sleeping|laying down|talking on a phone|throwing a frisbee|jumping|preparing food|posing for a picture|driving""".replace("\n", "").split("|")
WHERE = """on a beach|in the street|next to a tree|on top of a wooden table|in front of a building|near the ocean|in a grassy field|
at night|under a cloudy sky|in a kitchen|on the sidewalk|by a river|behind a fence|inside a bathroom|at an airport|with mountains in the background""".replace("\n", "").split("|")
SAME = [("man", "guy"), ("woman", "lady"), ("boy", "child"), ("picture", "photo"), ("street", "road"), ("bicycle", "bike"), ("sitting", "sits"),
        ("standing", "stands"), ("playing", "plays"), ("airplane", "plane"), ("in front of", "before"), ("next to", "beside"), ("a group of", "several"),
        ("little", "small"), ("on top of", "atop"), ("couch", "sofa"), ("laying", "lying"), ("building", "buildings"), ("near", "close to")]
ODD = ["", " ", "dog", "A", "cat.", "...", "!!!", '"', "a a a a a a", "the the the", "I.", "A letter C.", "The letter C. A sign.", "It's a dog's life.", "They can't, won't and don't stop",
       'A sign that says "STOP" (in red).', "“Curly quotes” and ‘these’ too", "A café in São Paulo, 10:30 a.m.", "$5.00 for 1 1/2 pizzas & 2 cokes", "1,000 people at 7-Eleven #1",
       "A U.S. Air Force F-16 fighter jet.", "Mr. and Mrs. Smith's wedding cake", "a man/woman in a t-shirt w/ a well-lit smile :)", "日本 の 犬", "a dog 🐕 and a ☕",
       "Straße ﬁne naïve İstanbul", "A black-and-white photo of New York circa the 1950's", "this isn't a cat -- it's a dog; really?!", "kitchen, bathroom , and bedroom .",
       "a {curly} [square] <b>tag</b> http://example.com/a.jpg me@example.com", "gonna cannot wanna 'tis 'twas rock 'n' roll", "no. 5 fig. 3 etc. The end", "ｗｉｄｅ", "A CAT LAYING DOWN",
       "He said 'hello' to the 'dog'", "50% off!", "A man riding a wave on top of a surfboard\nnext to another man", "AT&T store", "e.g. a dog, i.e. a pet", "x" * 60]


def sentence():
    who = rng.choice(WHO)
    article = "" if who.startswith("two") else "An " if who[0] in "aeio" else "A "
    text = f"{article}{who} {rng.choice(DOES)} {rng.choice(WHERE)}"
    if rng.random() < 0.3:
        text += f" {rng.choice(['with', 'and', 'beside'])} a {rng.choice(WHO)}"
    return text


def reword(text):
    for a, b in rng.sample(SAME, 6):
        text = text.replace(a, b)
    words = text.split(" ")
    for _ in range(rng.randint(0, 3)):
        i = rng.randrange(len(words))
        action = rng.random()
        if action < 0.4 and len(words) > 1:
            del words[i]
        elif action < 0.7:
            words.insert(i, rng.choice("very the a of large red blue white two three some her his people's".split()))
        elif action < 0.9 and i:
            words[i - 1], words[i] = words[i], words[i - 1]
    text = " ".join(words)
    return text + rng.choice(["", "", ".", ".", " .", "!"])


def example(odd=0.1):
    text = sentence()
    references = [reword(text) if rng.random() > odd else rng.choice(ODD) for _ in range(rng.choice([1, 2, 5, 5, 5]))]
    if not any(r.strip() for r in references):
        references.append(text)
    candidate = reword(text) if rng.random() > 0.2 else sentence().lower()
    if rng.random() < odd:
        candidate = rng.choice(ODD)
    return {"caption": candidate, "references": references}


# --- METEOR with little data of our own, in its formats ------------------------------------------
METEOR_DATA = os.path.join(HERE, "meteor")
FUNCTION_WORDS = "a an the of to in on at is it with and by under near , . 's \" ( ) -lrb- -rrb-".split()
PREFIXES = ["Mr", "Dr", "vs", "pp #NUMERIC_ONLY#"]  # the jar has all of them, and knows no others of our captions
BASES = {"man": ["men"], "child": ["children"], "run": ["ran", "running"], "lie": ["lying", "lay"], "good": ["better", "best"]}
SYNSETS = {"man": [1, 2], "guy": [2], "woman": [3], "lady": [3], "child": [4], "boy": [4, 5], "kid": [4], "photo": [6], "picture": [6, 7], "street": [8], "road": [8],
           "bike": [9], "bicycle": [9], "motorcycle": [9, 10], "sofa": [11], "couch": [11], "plane": [12], "airplane": [12], "lie": [13], "lay": [13], "dog": [14],
           "hand": [15], "spoon": [15], "hope": [16], "wish": [16], "ride": [17], "drive": [17], "small": [18], "little": [18], "box": [19], "case": [19], "large": [20], "big": [20]}
PARAPHRASES = [("next to", "beside"), ("beside", "next to"), ("next to", "close to"), ("close to", "near"), ("near", "close to"), ("a group of", "several"),
               ("group of people", "crowd"), ("crowd", "group of people"), ("on top of", "atop"), ("atop", "on top of"), ("in front of", "before"), ("before", "in front of"),
               ("playing a game of tennis", "playing tennis"), ("laying", "lying down"), ("laying down", "lying"), ("red", "reddish"), ("a", "one"), ("a dog", "one dog")]


def write_meteor_data():
    files = {
        "function/english.words": FUNCTION_WORDS,
        "nonbreaking/english.prefixes": ["# abbreviations that keep their period"] + PREFIXES,
        "synonym/english.exceptions": [line for base, forms in BASES.items() for line in (base, " ".join(forms))],
        "synonym/english.synsets": [line for word, ids in SYNSETS.items() for line in (word, " ".join(map(str, ids)))],
        "data/paraphrase-en.gz": [line for phrase, other in PARAPHRASES for line in ("0.5", phrase, other)],
    }
    for name, lines in files.items():
        path = os.path.join(METEOR_DATA, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = "".join(line + "\n" for line in lines).encode()
        if name.endswith(".gz"):
            with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
                f.write(data)
        else:
            with open(path, "wb") as f:
                f.write(data)


class SmallMeteor(meteor.Meteor):
    """pycocoevalcap's METEOR, its jar told to use our data."""

    def __init__(self):
        self.meteor_cmd = ["java", "-jar", "-Xmx2G", meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm",
                           "-s", METEOR_DATA + "/function/english.words", "-d", METEOR_DATA + "/synonym", "-a", METEOR_DATA + "/data/paraphrase-en.gz"]
        self.meteor_p = subprocess.Popen(self.meteor_cmd, cwd=os.path.dirname(os.path.abspath(meteor.__file__)),
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.lock = threading.Lock()


write_meteor_data()
METEORS = {"meteor": meteor.Meteor(), "meteor_small": SmallMeteor()}


# --- scores -------------------------------------------------------------------------------------
def tokenized(captions):
    """PTBTokenizer.tokenize of lists of captions, which it takes by image id."""
    return PTBTokenizer().tokenize({i: [{"caption": c} for c in texts] for i, texts in enumerate(captions)})


def scored(examples):
    references = tokenized([e["references"] for e in examples])
    candidates = tokenized([[e["caption"]] for e in examples])
    bleu, bleus = Bleu(4).compute_score(references, candidates, verbose=0)
    cider, ciders = Cider().compute_score(references, candidates)
    rouge, rouges = Rouge().compute_score(references, candidates)
    out = {"examples": examples, "bleu": bleu, "cider": float(cider), "rougeL": float(rouge)}
    for i, e in enumerate(examples):
        e.update(bleu=[b[i] for b in bleus], cider=float(ciders[i]), rougeL=float(rouges[i]))
    for name, scorer in METEORS.items():
        out[name], each = scorer.compute_score(references, candidates)
        for e, score in zip(examples, each):
            e[name] = score
    return out


corpora = [
    [example() for _ in range(60)],
    [example(0.5) for _ in range(40)],
    [{"caption": odd, "references": [rng.choice(ODD[2:]), odd or "nothing"]} for odd in ODD],
    [{"caption": "a dog on a beach", "references": ["a dog on a beach", "a dog runs on a beach"]}],
    [{"caption": "", "references": ["a dog"]}, {"caption": "...", "references": ["a cat", "the cat"]}],
]

# --- the tokenizer's lines ----------------------------------------------------------------------
PIECES = """a the two dog man's woman's it's they're don't CAN'T won't I'm he'll we've she'd o'clock y'all ma'am 'n' 'em 'til 'cause '90s 1980s cannot Cannot gonna lemme 'tis
'twas Mr. Mrs. Dr. St. vs. etc. Inc. Jan. Feb. U.S. U.K. a.m. p.m. Ph.D. e.g. i.e. No. no. fig. co. Co. Ltd. Mass. mass. Miss. miss. Jr. A. B. x. Y. I. well-lit T-shirt
black-and-white 3-way and/or w/ 1/2 3/4 2-1/2 10 1,000 3.5 .5 $5 $3.50 US$ 50% #1 & AT&T R&B stop!! what?! (left) [right] {curly} <b> </b> <br/> "quoted" “curly” ‘curly’ « » – — --
--- ---- ----- .. ... .... … * ** / : ; , . ! ? ~ ^ | \\ + = @ _ __ < > << 10:30 10:30am 12/25/2010 555-1234 (555) http://www.example.com/x www.example.com example.com/bar, me@example.com
@name #tag file.jpg image.png. café naïve ½ 2½ x² H₂O 90° × £5 €5 ¢ ¥ © ™ • · ¿qué? 日本 Привет 🐕 ☕ ❤️ soft\u00adhyphen no\u00a0break \u200b :) ;-) :-( ^_^ <3 &amp; &lt; &quot;hi&quot;
&apos; &nbsp; &mdash; &eacute;t&eacute; &#39; C++ c# D'Arcy l'eau c'est cap'n li'l s'mores cont'd non-U.S. pro- anti- S&P-500 -LRB- a.k.a. ca. pp. pty. Ltd ave. rd. ft. mt. man.the dog,cat
word;word a.b.c. .com A+ A+B AB&CD I/O 24/7 9/11 1st 1990's dogs' 's' 'dog 'the' 7-11 F-16. X-ray, e-mail one-U.S.A.: -5 +5.5 --5 5'10 6'2" 3.5" 1:2:3 1.2.3.4 n't Don’t it’s 'd 's""".split()
SIGNS = list("abcdnstz AEINSTM  '''\"\"`.,,..!?-—_:;/\\()[]{}<>&#@$%^*+=~|0123456789") + list("éß½²’‘”“…€£°×\u00ad\u00a0ñ")


def line():
    kind = rng.random()
    if kind < 0.4:
        return " ".join(rng.choice(PIECES) for _ in range(rng.randint(1, 9)))
    if kind < 0.6:
        return "".join(rng.choice(PIECES) + rng.choice(["", " ", "-", "'", ".", ",", ". ", '"']) for _ in range(rng.randint(1, 7)))
    if kind < 0.8:
        return "".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 18)))
    return reword(sentence())


lines = ODD + PIECES + [line() for _ in range(1500)]
lines = [text.replace("\n", " ") for text in lines]
tokens = tokenized([[text] for text in lines])

golden = {
    "corpora": [scored(c) for c in corpora],
    "lines": [[text, tokens[i][0]] for i, text in enumerate(lines)],
}
write("golden_coco.json.gz", golden)
print(sum(map(len, corpora)), "examples,", len(lines), "lines", file=sys.stderr)
