package dataset

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func TestCaptionsAreCleanedAndWhatFallsOutIsCounted(t *testing.T) {
	files := []File{
		memory(RoleCaptions, "c.csv", []byte("image,caption\na.jpg,A Cat  on a Mat .\na.jpg,Cat.\na.jpg, "+
			". \nb.jpg,Dog.\nc.jpg,one two three four five six seven\n")),
		memory(RoleImages, "i.zip", zipOf(t, "a.jpg", "", "b.jpg", "", "c.jpg", "")),
	}
	for _, c := range []struct {
		clean    Clean
		want     string // pictures apart by |, captions by /
		warnings []string
	}{
		{Clean{}, "A Cat on a Mat ./Cat./.|Dog.|one two three four five six seven", nil},
		{Clean{Lower: true}, "a cat on a mat ./cat./.|dog.|one two three four five six seven", nil},
		{Clean{StripPeriod: true}, "A Cat on a Mat/Cat|Dog|one two three four five six seven",
			[]string{"c.csv: 1 empty captions left out"}},
		{Clean{Raw: true}, "A Cat  on a Mat ./Cat./ . |Dog.|one two three four five six seven", nil},
		{Clean{Raw: true, StripPeriod: true}, "A Cat  on a Mat/Cat|Dog|one two three four five six seven",
			[]string{"c.csv: 1 empty captions left out"}},
		{Clean{First: true}, "A Cat on a Mat .|Dog.|one two three four five six seven", nil},
		{Clean{First: true, MaxWords: 4}, "Cat.|Dog.", []string{
			"c.csv: 2 captions of more than 4 words left out",
			"c.csv: 1 pictures left out with all their captions",
		}},
		{Clean{Lower: true, StripPeriod: true, MinWords: 2, MaxWords: 6}, "a cat on a mat", []string{
			"c.csv: 1 empty captions left out", "c.csv: 2 captions of fewer than 2 words left out",
			"c.csv: 1 captions of more than 6 words left out",
			"c.csv: 2 pictures left out with all their captions",
		}},
	} {
		examples, warnings, err := List(
			context.Background(), Spec{Kind: "folder", Split: Train, Clean: c.clean}, files, 0,
		)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range examples {
			got = append(got, strings.Join(e.Captions, "/"))
		}
		if strings.Join(got, "|") != c.want || !slices.Equal(warnings, c.warnings) {
			t.Errorf("%+v: %q, %q", c.clean, got, warnings)
		}
	}
	_, _, err := List(context.Background(), Spec{Kind: "folder", Clean: Clean{MinWords: 9}}, files, 0)
	if err == nil || !strings.Contains(err.Error(), "clean leaves none of its 3 pictures a caption") {
		t.Errorf("nothing left: %v", err)
	}
}
