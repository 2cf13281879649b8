package dataset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shapesLanguage words scenes in one language. Every language names a group's count, colour and
// shape in one order, so that a scene has one wording per template here, too.
type shapesLanguage struct {
	// templates make a scene's five captions. Each that is more than the groups begins with words
	// no other begins with, so that a caption once begun has one continuation.
	templates []string

	and   string               // between two groups
	group func(g group) string // "two red stars"
}

// shapesLanguages by the codes of ISO 639-1.
var shapesLanguages = map[string]shapesLanguage{
	"en": {templates, " and ", group.String},
	"zh": {
		[]string{"%", "图中有%", "这张图片展示了%", "画面上是%", "可以看到%"}, "和",
		func(g group) string {
			return chineseCounts[g.count] + "个" + chinese[g.Colour] + "的" + chinese[g.Shape]
		},
	},
	"ja": {
		[]string{"%", "この絵には%があります", "描かれているのは%です", "ここに%が見えます", "画像は%を示しています"}, "と",
		func(g group) string {
			return japaneseCounts[g.count] + "の" + japanese[g.Colour] + japanese[g.Shape]
		},
	},
	"ar": {
		// joined to the word it precedes
		[]string{"%", "هناك %", "في هذه الصورة %", "هذا رسم فيه %", "هنا %"}, " و",
		arabicGroup,
	},
	"th": {
		[]string{"%", "มี%", "ภาพนี้แสดง%", "ในภาพมี%", "คุณจะเห็น%"}, "และ",
		func(g group) string {
			noun := thaiShapes[g.Shape]
			return noun.name + "สี" + thaiColours[g.Colour] + thaiCounts[g.count] + noun.classifier
		},
	},
	"vi": {
		[]string{"%", "có %", "bức tranh này vẽ %", "trong hình là %", "bạn có thể thấy %"}, " và ",
		func(g group) string {
			return vietnameseCounts[g.count] + " " + vietnamese[g.Shape] + " màu " + vietnamese[g.Colour]
		},
	},
}

// shapesLanguageOf finds a language by its code; none is English.
func shapesLanguageOf(code string) (shapesLanguage, error) {
	if code == "" {
		code = "en"
	}
	l, ok := shapesLanguages[code]
	if !ok {
		known := slices.Sorted(maps.Keys(shapesLanguages))
		return l, fmt.Errorf("shapes: language is %q; must be one of %s", code, strings.Join(known, ", "))
	}
	return l, nil
}

var (
	chineseCounts = []string{"", "一", "两", "三"}
	chinese       = map[string]string{
		"red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色",
		"purple": "紫色", "cyan": "青色", "pink": "粉色", "black": "黑色",
		"circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "cross": "十字形",
	}

	japaneseCounts = []string{"", "一つ", "二つ", "三つ"}
	japanese       = map[string]string{
		"red": "赤い", "green": "緑色の", "blue": "青い", "yellow": "黄色い",
		"purple": "紫色の", "cyan": "水色の", "pink": "ピンクの", "black": "黒い",
		"circle": "円", "square": "正方形", "triangle": "三角形", "star": "星", "cross": "十字",
	}

	vietnameseCounts = []string{"", "một", "hai", "ba"}
	vietnamese       = map[string]string{
		"red": "đỏ", "green": "xanh lá", "blue": "xanh dương", "yellow": "vàng",
		"purple": "tím", "cyan": "xanh lơ", "pink": "hồng", "black": "đen",
		"circle": "hình tròn", "square": "hình vuông", "triangle": "hình tam giác", "star": "ngôi sao",
		"cross": "hình chữ thập",
	}

	thaiCounts  = []string{"", "หนึ่ง", "สอง", "สาม"}
	thaiColours = map[string]string{
		"red": "แดง", "green": "เขียว", "blue": "น้ำเงิน", "yellow": "เหลือง",
		"purple": "ม่วง", "cyan": "ฟ้า", "pink": "ชมพู", "black": "ดำ",
	}
)

// thaiShapes are counted by a classifier that goes with the noun.
var thaiShapes = map[string]struct{ name, classifier string }{
	"circle": {"วงกลม", "วง"}, "square": {"สี่เหลี่ยม", "รูป"}, "triangle": {"สามเหลี่ยม", "รูป"},
	"star": {"ดาว", "ดวง"}, "cross": {"กากบาท", "อัน"},
}

// arabicNoun is a shape: its forms for one, two (nominative, as every template has it) and three.
type arabicNoun struct {
	feminine      bool
	one, two, few string
}

var arabicShapes = map[string]arabicNoun{
	"circle":   {true, "دائرة", "دائرتان", "دوائر"},
	"square":   {false, "مربع", "مربعان", "مربعات"},
	"triangle": {false, "مثلث", "مثلثان", "مثلثات"},
	"star":     {true, "نجمة", "نجمتان", "نجمات"},
	"cross":    {false, "صليب", "صليبان", "صلبان"},
}

// arabicColours by gender and number: of one masculine, one feminine, two masculine, two feminine.
var arabicColours = map[string][4]string{
	"red":    {"أحمر", "حمراء", "أحمران", "حمراوان"},
	"green":  {"أخضر", "خضراء", "أخضران", "خضراوان"},
	"blue":   {"أزرق", "زرقاء", "أزرقان", "زرقاوان"},
	"yellow": {"أصفر", "صفراء", "أصفران", "صفراوان"},
	"purple": {"بنفسجي", "بنفسجية", "بنفسجيان", "بنفسجيتان"},
	"cyan":   {"سماوي", "سماوية", "سماويان", "سماويتان"},
	"pink":   {"وردي", "وردية", "ورديان", "ورديتان"},
	"black":  {"أسود", "سوداء", "أسودان", "سوداوان"},
}

// arabicGroup: one and two are in the noun's form, three has the other gender than its noun, and
// the colour of three things is that of one feminine.
func arabicGroup(g group) string {
	noun, colour := arabicShapes[g.Shape], arabicColours[g.Colour]
	feminine := 0
	if noun.feminine {
		feminine = 1
	}
	switch g.count {
	case 1:
		return noun.one + " " + colour[feminine]
	case 2:
		return noun.two + " " + colour[2+feminine]
	}
	return []string{"ثلاثة", "ثلاث"}[feminine] + " " + noun.few + " " + colour[1]
}
