package dataset

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"distilvit/model/tokenizer"
)

// scenes whose captions are written out below.
var (
	oneCircle   = []Object{{"red", "circle"}}
	twoStars    = []Object{{"blue", "star"}, {"blue", "star"}}
	threeGroups = []Object{{"green", "square"}, {"purple", "triangle"}, {"black", "cross"}}
	fourObjects = []Object{{"yellow", "square"}, {"yellow", "square"}, {"yellow", "square"}, {"pink", "star"}}
)

// The first captions were read by people, word by word; a change here is a change of every dataset
// that was drawn in the language.
var wordings = map[string]struct{ circle, stars, groups, counts string }{
	"en": {
		"a red circle", "two blue stars", "a green square and a purple triangle and a black cross",
		"three yellow squares and a pink star",
	},
	"zh": {"一个红色的圆形", "两个蓝色的星形", "一个绿色的正方形和一个紫色的三角形和一个黑色的十字形", "三个黄色的正方形和一个粉色的星形"},
	"ja": {"一つの赤い円", "二つの青い星", "一つの緑色の正方形と一つの紫色の三角形と一つの黒い十字", "三つの黄色い正方形と一つのピンクの星"},
	"ar": {
		"دائرة حمراء", "نجمتان زرقاوان", "مربع أخضر ومثلث بنفسجي وصليب أسود",
		"ثلاثة مربعات صفراء ونجمة وردية",
	},
	"th": {
		"วงกลมสีแดงหนึ่งวง", "ดาวสีน้ำเงินสองดวง",
		"สี่เหลี่ยมสีเขียวหนึ่งรูปและสามเหลี่ยมสีม่วงหนึ่งรูปและกากบาทสีดำหนึ่งอัน",
		"สี่เหลี่ยมสีเหลืองสามรูปและดาวสีชมพูหนึ่งดวง",
	},
	"vi": {
		"một hình tròn màu đỏ", "hai ngôi sao màu xanh dương",
		"một hình vuông màu xanh lá và một hình tam giác màu tím và một hình chữ thập màu đen",
		"ba hình vuông màu vàng và một ngôi sao màu hồng",
	},
}

var circleTemplates = map[string][]string{
	"en": {
		"a red circle", "there is a red circle", "this picture shows a red circle",
		"a picture of a red circle", "you can see a red circle",
	},
	"zh": {"一个红色的圆形", "图中有一个红色的圆形", "这张图片展示了一个红色的圆形", "画面上是一个红色的圆形", "可以看到一个红色的圆形"},
	"ja": {
		"一つの赤い円", "この絵には一つの赤い円があります", "描かれているのは一つの赤い円です", "ここに一つの赤い円が見えます", "画像は一つの赤い円を示しています",
	},
	"ar": {
		"دائرة حمراء", "هناك دائرة حمراء", "في هذه الصورة دائرة حمراء", "هذا رسم فيه دائرة حمراء",
		"هنا دائرة حمراء",
	},
	"th": {
		"วงกลมสีแดงหนึ่งวง", "มีวงกลมสีแดงหนึ่งวง", "ภาพนี้แสดงวงกลมสีแดงหนึ่งวง", "ในภาพมีวงกลมสีแดงหนึ่งวง",
		"คุณจะเห็นวงกลมสีแดงหนึ่งวง",
	},
	"vi": {
		"một hình tròn màu đỏ", "có một hình tròn màu đỏ", "bức tranh này vẽ một hình tròn màu đỏ",
		"trong hình là một hình tròn màu đỏ",
		"bạn có thể thấy một hình tròn màu đỏ",
	},
}

func TestShapesAreCaptionedInEveryLanguage(t *testing.T) {
	known := slices.Sorted(maps.Keys(shapesLanguages))
	if got := slices.Sorted(maps.Keys(wordings)); !slices.Equal(got, known) {
		t.Fatalf("languages %v, tested %v", known, got)
	}
	for code, want := range wordings {
		l := shapesLanguages[code]
		first := func(objects []Object) string { return l.captionsOf(objects)[0] }
		got := want
		got.circle, got.stars, got.groups, got.counts = first(oneCircle), first(twoStars), first(threeGroups),
			first(fourObjects)
		if got != want {
			t.Errorf("%s: %+v, want %+v", code, got, want)
		}
		if got := l.captionsOf(oneCircle); !reflect.DeepEqual(got, circleTemplates[code]) {
			t.Errorf("%s: %q, want %q", code, got, circleTemplates[code])
		}
	}
}

func TestShapesCaptionsFitOneSceneInEveryLanguage(t *testing.T) {
	for code, l := range shapesLanguages {
		scenes := map[string]string{} // by caption
		for _, c := range colours {
			for _, s := range shapes {
				for n := 1; n <= 3; n++ {
					scene := slices.Repeat([]Object{{c.name, s.name}}, n)
					for _, caption := range l.captionsOf(scene) {
						if other, ok := scenes[caption]; ok || strings.ContainsAny(caption, "%") {
							t.Errorf("%s: %q is of %s and %s", code, caption, other, sceneKey(scene))
						}
						scenes[caption] = sceneKey(scene)
					}
				}
			}
		}
		if want := 5 * 3 * len(colours) * len(shapes); len(scenes) != want {
			t.Errorf("%s: %d captions, want %d", code, len(scenes), want)
		}
	}
}

// The tokens of a caption by a tokenizer of the smallest preset: docs/config.md names the longest.
func TestShapesTokensAreReadBackInEveryLanguage(t *testing.T) {
	longest := map[string]int{}
	for code := range shapesLanguages {
		examples := listTestShapes(t, ShapesSpec{Train: 300, Language: code}, 1)
		captions := func(yield func(string) bool) {
			for _, e := range examples {
				for _, c := range e.Captions {
					if !yield(c) {
						return
					}
				}
			}
		}
		tok, err := tokenizer.Train(captions, 2000)
		if err != nil {
			t.Fatal(err)
		}
		for c := range captions {
			ids := tok.Encode(c)
			if got := tok.Decode(ids, true); got != c {
				t.Fatalf("%s: %q is read back as %q", code, c, got)
			}
			longest[code] = max(longest[code], len(ids)+1)
		}
	}
	for code, n := range longest {
		if limit := map[bool]int{true: 48, false: 32}[code == "th"]; n > limit {
			t.Errorf("%s: a caption of %d tokens, the end token included; at most %d", code, n, limit)
		}
	}
	t.Log("longest captions in tokens:", longest)
}

func TestShapesOfAnotherLanguageShowTheSamePictures(t *testing.T) {
	en, th := listTestShapes(t, ShapesSpec{Train: 20}, 3), listTestShapes(
		t, ShapesSpec{Train: 20, Language: "th"}, 3,
	)
	for i := range en {
		if !reflect.DeepEqual(en[i].Image, th[i].Image) || reflect.DeepEqual(en[i].Captions, th[i].Captions) {
			t.Errorf("%s: %v and %v", en[i].ID, en[i].Captions, th[i].Captions)
		}
	}
	_, _, err := List(t.Context(), Spec{Kind: "shapes", Shapes: ShapesSpec{Train: 1, Language: "xx"}}, nil, 1)
	if err == nil || !strings.Contains(err.Error(), "ar, en, ja, th, vi, zh") {
		t.Error(err)
	}
}
