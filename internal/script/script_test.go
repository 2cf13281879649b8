package script

import "testing"

func TestScriptsWithoutSpacesAreTold(t *testing.T) {
	for text, want := range map[string]bool{"红色の圆ー": true, "กรอบ": true, "ກຂ": true, "កខ": true, "ကခ": true,
		"red": false, "đỏ": false, "أحمر": false, "빨강": false, " .,1": false} {
		for _, r := range text {
			if Spaceless(r) != want {
				t.Errorf("%c of %s: %v", r, text, !want)
			}
		}
	}
}

func TestHanAndKanaAreSyllables(t *testing.T) {
	for text, want := range map[string]bool{"红の円ーピ": true, "กຂកက": false, "red đỏ أحمر 빨": false} {
		for _, r := range text {
			if Syllabic(r) != want {
				t.Errorf("%c of %s: %v", r, text, !want)
			}
		}
	}
}
