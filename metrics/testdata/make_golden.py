"""Makes golden.json.gz and stems.txt.gz: what rouge_score and NLTK's Porter stemmer compute.

    pip install rouge_score==0.1.2 nltk==3.10.4
    python make_golden.py
"""
import gzip
import itertools
import json
import os
import random

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
rng = random.Random(7)


def write(name, data):
    with open(os.path.join(HERE, name), "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
            f.write(data.encode())


# --- captions -----------------------------------------------------------------------------------
WORDS = """a the two three some red blue green running dogs dog cats cat man woman standing sitting riding skies
horse horses beach beaches flying kites kite happily quickly playing played plays player baseball tennis grassy
field fields traffic lights old wooden bench next to near of on in with and holding umbrella umbrellas rainy day
people person crowded street 2 10 19th cafe pizza-topped sheep's don't isn't well-lit""".split()


def sentence(n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def disturb(text):
    words = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        i = rng.randrange(len(words) + 1)
        action = rng.random()
        if action < 0.4 and len(words) > 1:
            del words[min(i, len(words) - 1)]
        elif action < 0.8:
            words.insert(i, rng.choice(WORDS))
        else:
            rng.shuffle(words)
    return " ".join(words)


def style(text):
    action = rng.randrange(8)
    if action == 0:
        return text.upper()
    if action == 1:
        return text.capitalize() + "."
    if action == 2:
        return text.replace(" ", ", ")
    if action == 3:
        return text.replace(" ", "\n", rng.randint(1, 3))
    if action == 4:
        return text.replace(" ", " \n \n", 1)
    return text


pairs = [
    ("", [""]), ("", ["a dog"]), ("a dog", [""]), ("...", ["a dog"]), ("a dog", ["!!!", "\n\n"]), ("\n", ["\n"]),
    ("İstanbul café ﬁne", ["istanbul cafe fine", "i stanbul caf fine"]), ("K e l v i n", ["k e l v i n"]),
    ("naïve Straße", ["na ve stra e"]), ("a a a a", ["a a", "a"]), ("a b c", ["c b a"]), ("a\nb\nc", ["c\nb\na"]),
    ("the dog\nthe cat", ["the cat\nthe dog", "the cat the dog"]), ("１２ ٣", ["12 3"]), ("a_b", ["a b", "ab"]),
    ("a\x0bb\x0cc\x1cd\x85e\u2028f", ["a b c d e f"]), ("a\rb", ["a\nb"]), ("dogs dogged dogging", ["dog dog dog"]),
]
for _ in range(460):
    reference = sentence(rng.randint(1, 14))
    references = [style(disturb(reference)) for _ in range(rng.choice([1, 1, 2, 5]))]
    pairs.append((style(disturb(reference) if rng.random() < 0.9 else sentence(5)), references))

scorer = rouge_scorer.RougeScorer(TYPES, use_stemmer=True)
golden = []
for prediction, references in pairs:
    scores = scorer.score_multi(references, prediction)
    golden.append({"prediction": prediction, "references": references, "scores": [float(scores[t].fmeasure) for t in TYPES]})
write("golden.json.gz", json.dumps(golden, ensure_ascii=False))

# --- stems: real words, and stems put together with every suffix the rules know --------------------
STEMS = """run hop fall hiss fizz fail fil plaster bled motor sing conflat troubl siz tann happ enjoy cry spy fly relat condition
ration valenc hesitanc digit conform radic differ vile analog vietnam predic oper feud decis hope call form sensitiv sensib
triplic formal electric good reviv allow infer airlin gyroscop adjust defens irrit replac depend adopt homolog commun activ
angular effect bowdler probat rat ceas controll roll geo theo archaeo philo techn yy y syzyg ay oy a i xy box tax
wax snow play x2 12 2nd abc9 us as is gas bus photograph paint bicycl surfboard skateboard""".split()
SUFFIXES = """s es ss sses ies ied ed eed ing ings at ate ated ating bl ble bled bling iz ize ized izing y ly er ers ational tional enci anci
izer abli bli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti iviti biliti fulli logi icate ative alize
iciti ical ful ness al ance ence ic able ible ant ement ment ent ion tion sion ou ism iti ous ive e ll lling""".split()
words = {s + suffix for s, suffix in itertools.product(STEMS, [""] + SUFFIXES)}
words |= {w.lower() for w in WORDS if w.isalnum()}
words |= set("skies sky dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed".split())
words |= {"".join(rng.choice("aeiouysltdngbz1") for _ in range(rng.randint(1, 9))) for _ in range(1500)}
stemmer = PorterStemmer()
write("stems.txt.gz", "".join(f"{w} {stemmer.stem(w)}\n" for w in sorted(words)))
print(len(golden), "pairs,", len(words), "words")
