"""Makes golden_unicode.json.gz: what UAX #29, rouge_score and pycocoevalcap make of captions in
many languages.

    Python 3.11
    pip install regex==2026.11.19 uniseg==0.10.1 rouge_score==0.1.2 sacrebleu==2.6.0
    pip install --no-deps pycocoevalcap==1.2
    python make_golden_unicode.py

Cherokee is left out: x/text folds it to small letters, Unicode to capitals; no score depends on it.

Words are found by two implementations of UAX #29, regex and uniseg, which must agree on every text;
Chinese ones must be those of sacrebleu's tokenizer zh, too. ROUGE is rouge_score's with a tokenizer
that gives these words, BLEU and CIDEr are pycocoevalcap's scorers on them. Every caption is written
or put together here.
"""
import gzip
import json
import os
import random
import unicodedata

import regex
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score import rouge_scorer, tokenizers
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh
from uniseg.graphemecluster import grapheme_clusters
from uniseg.wordbreak import words as uniseg_words

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
rng = random.Random(29)
SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc\uff70]")


def is_word(text):
    return any(unicodedata.category(c)[0] in "LN" for c in text)


def words(text):
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    segments = [s for s in regex.split(r"(?wV1)\b", text) if s]
    assert segments == list(uniseg_words(text)), (text, segments, list(uniseg_words(text)))
    out = []
    for segment in segments:
        clusters = regex.findall(r"\X", segment)
        assert clusters == list(grapheme_clusters(segment)), (segment, clusters)
        part = ""
        for c in clusters:
            if SPACELESS.match(c):
                out += [part, c]
                part = ""
            else:
                part += c
        out.append(part)
    return [w for w in out if is_word(w)]


class Tokenizer(tokenizers.Tokenizer):
    def tokenize(self, text):
        return words(text)


# --- captions -----------------------------------------------------------------------------------
# who, what they do, where: put together with a separator, so that captions share words.
LANGUAGES = {
    "en": (" ", ["A man", "Two young women", "a café's dog", "The children"], ["riding a wave", "isn't eating naïve food", "holding 3.5 apples"], ["on the beach.", "in São Paulo!", "near a well-lit street"]),
    "vi": (" ", ["Một người đàn ông", "hai cô gái trẻ", "con chó nhỏ màu trắng", "Những đứa trẻ"], ["đang lướt sóng", "đang ăn phở", "cầm một chiếc ô"], ["trên bãi biển.", "ở Hà Nội", "gần một con đường sáng đèn"]),
    "zh": ("", ["一个男人", "两个年轻女子", "一只白色的小狗", "孩子们"], ["正在冲浪", "在吃面条", "拿着一把雨伞"], ["在海滩上。", "在北京，", "靠近明亮的街道"]),
    "ja": ("", ["男の人が", "二人の若い女性が", "白い小さな犬が", "子供たちが"], ["コーヒーを飲みながら", "ラーメンを食べて", "傘を持って"], ["海岸にいます。", "東京で、", "明るい通りの近くに立っている"]),
    "ar": (" ", ["رجل", "امرأتان شابتان", "كلب أبيض صغير", "الأطفال"], ["يركب موجة", "يأكل الطعام", "يحمل ٣ مظلات"], ["على الشاطئ.", "في القاهرة،", "قرب شارع مضاء"]),
    "th": ("", ["ผู้ชายคนหนึ่ง", "ผู้หญิงสองคน", "สุนัขสีขาวตัวเล็ก", "เด็กๆ"], ["กำลังโต้คลื่น", "กินก๋วยเตี๋ยว", "ถือร่ม"], ["บนชายหาด", "ในกรุงเทพฯ", "ใกล้ถนนที่สว่าง"]),
    "ko": (" ", ["한 남자가", "두 젊은 여자가", "작은 흰 개가", "아이들이"], ["파도를 타고", "국수를 먹고", "우산을 들고"], ["해변에 있다.", "서울에서", "밝은 거리 근처에 있다"]),
    "hi": (" ", ["एक आदमी", "दो युवा महिलाएं", "एक छोटा सफेद कुत्ता", "बच्चे"], ["लहर पर सवार", "खाना खा रहे", "छाता पकड़े"], ["समुद्र तट पर।", "दिल्ली में,", "रोशन सड़क के पास"]),
    "ru": (" ", ["Мужчина", "Две молодые женщины", "маленькая белая собака", "Дети"], ["катается на волне", "ест ёлку", "держит зонт"], ["на пляже.", "в Москве", "возле освещённой улицы"]),
    "de": (" ", ["Ein Mann", "Zwei junge Mädchen", "ein großer Hund", "Die KINDER"], ["reitet auf einer Welle", "isst süße Äpfel", "hält einen Schirm"], ["am Strand.", "in München", "nahe der Straße"]),
    "he": (" ", ["גבר", "שתי נשים צעירות", "כלב לבן קטן", "צה״ל"], ["רוכב על גל", "אוכל ג׳ירף", "מחזיק מטרייה"], ["על החוף.", "בתל אביב", "ליד רחוב מואר"]),
    "el": (" ", ["Ένας άνδρας", "Δύο νέες γυναίκες", "ένας μικρός ΣΚΎΛΟΣ", "Τα παιδιά"], ["καβαλάει ένα κύμα", "τρώει φαγητό", "κρατάει ομπρέλα"], ["στην παραλία.", "στην Αθήνα;", "κοντά σε δρόμο"]),
    "km": ("", ["បុរសម្នាក់", "ឆ្កែពណ៌ស", "ក្មេងៗ"], ["កំពុងជិះរលក", "កំពុងញ៉ាំបាយ"], ["នៅលើឆ្នេរ។", "ក្នុងភ្នំពេញ"]),
    "my": ("", ["လူတစ်ယောက်", "ခွေးဖြူလေး", "ကလေးများ"], ["လှိုင်းစီးနေသည်", "စားနေသည်"], ["ကမ်းခြေမှာ။", "ရန်ကုန်မှာ"]),
    "lo": ("", ["ຜູ້ຊາຍຄົນໜຶ່ງ", "ໝານ້ອຍສີຂາວ", "ເດັກນ້ອຍ"], ["ກຳລັງຫຼິ້ນຄື້ນ", "ກຳລັງກິນເຂົ້າ"], ["ຢູ່ຫາດຊາຍ", "ໃນວຽງຈັນ"]),
    "tr": (" ", ["Bir adam", "İki genç kadın", "küçük beyaz köpek", "IŞIK"], ["dalgaya biniyor", "yemek yiyor", "şemsiye tutuyor"], ["sahilde.", "İstanbul'da", "ışıklı caddenin yanında"]),
}
ODD = ["", " ", "...", "。", "!", "don't can't O'Neil's", "3.5 1,000 10:30 U.S.A. e.g.", "foo_bar __x__ a-b", "straße ﬁne İI ıi", "Café Cafe\u0301 hi\u0300nh",
       "👍🏽 👨‍👩‍👧 🇩🇪 ❤️ 1️⃣", "日本語とEnglishとカタカナ", "ｶﾀｶﾅ コーヒー ーー カ_a", "iPhoneで写真123枚", "한국어 \u1112\u1161\u11ab", "ไทย\u200bไทย ๑๒๓ ฯลฯ", "١٢٣٫٤٥", "क्षत्रिय श्री",
       "தமிழ் மொழி", "a\u00ad b\u2060c", "中A文b 々〆", "https://example.com/a_b?c=d", "line\nbreak 行\n行", "㍿ ① Ⅷ ½", "x\u0301\u0302y", "ǅ ǆ ΐ", "𠮷野家 𝒳", "ᠮᠣᠩᠭᠣᠯ བོད་སྐད", "\u200f\u202aא\u202c"]


def caption(language):
    sep, who, does, where = LANGUAGES[language]
    return sep.join([rng.choice(who), rng.choice(does), rng.choice(where)])


def corpus(language, n=24):
    predictions = []
    for _ in range(n):
        references = [caption(language) for _ in range(rng.randint(1, 5))]
        predictions.append({"caption": rng.choice(references + [caption(language)] * 3), "references": references})
    if language == "en":
        for text in ODD:
            predictions.append({"caption": text, "references": [rng.choice(ODD), text + " x", caption("zh") + "\n" + caption("vi")]})
    return predictions


def cut(text):
    return " ".join(words(text))


scorer = rouge_scorer.RougeScorer(TYPES, tokenizer=Tokenizer())
corpora = []
for language in LANGUAGES:
    predictions = corpus(language)
    gts = {i: [cut(r) for r in p["references"]] for i, p in enumerate(predictions)}
    res = {i: [cut(p["caption"])] for i, p in enumerate(predictions)}
    for p in predictions:
        best = scorer.score_multi(p["references"], p["caption"])
        p["rouge"] = [best[t].fmeasure for t in TYPES]
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    cider, _ = Cider().compute_score(gts, res)
    coco, _ = Rouge().compute_score(gts, res)
    corpora.append({"language": language, "predictions": predictions, "bleu": bleu, "cider": float(cider), "rougeL_coco": float(coco)})

texts = ODD + [p["caption"] for c in corpora for p in c["predictions"]] + [r for c in corpora for p in c["predictions"] for r in p["references"]]
texts = list(dict.fromkeys(texts))
zh = TokenizerZh()
for who in LANGUAGES["zh"][1:]:
    for text in who:
        assert words(text) == [c for c in zh(text).split() if is_word(c)], text

with open(os.path.join(HERE, "golden_unicode.json.gz"), "wb") as raw:
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
        value = {"texts": [{"text": t, "words": words(t)} for t in texts], "corpora": corpora}
        f.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
print(len(texts), "texts,", len(corpora), "corpora")
