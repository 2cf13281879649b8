package sources

import (
	"maps"
	"slices"

	"distilvit/dataset"
	"distilvit/pipeline"
)

// Spec is a source of a config as package dataset reads it, where the prepare section
// holds out these fractions.
func Spec(s pipeline.SourceConfig, p pipeline.PrepareConfig) dataset.Spec {
	_, entry := pipeline.CutEntry(s.Captions)
	clean := dataset.Clean{
		Lower: s.Clean.Lower, StripPeriod: s.Clean.StripPeriod, MinWords: s.Clean.MinWords,
		MaxWords: s.Clean.MaxWords,
		First:    s.Clean.Keep == pipeline.KeepFirst, Raw: s.Clean.Raw,
	}
	return dataset.Spec{
		Kind: s.Kind, Split: s.Split, Limit: s.Limit,
		ValidationFraction: p.ValidationFraction, TestFraction: p.TestFraction,
		Shapes: dataset.ShapesSpec(s.Shapes),
		Columns: dataset.Columns{
			Image: s.ImageColumn, Captions: s.CaptionColumns, Split: s.SplitColumn, ID: s.IDColumn,
		},
		ByPath:  s.Kind == pipeline.KindParquet && len(s.Images) > 0,
		Where:   where(s),
		Caption: s.Caption,
		Entry:   entry,
		Clean:   clean,
	}
}

// anyValue is what a condition of a config has for all values but none.
const anyValue = "*"

// where are a source's conditions in the order of their columns.
func where(s pipeline.SourceConfig) []dataset.Condition {
	var out []dataset.Condition
	for _, column := range slices.Sorted(maps.Keys(s.Where)) {
		c := dataset.Condition{Column: column}
		if values := s.Where[column]; !slices.Contains(values, anyValue) {
			c.Equals = values
		}
		out = append(out, c)
	}
	return out
}
