package dataset

import (
	"fmt"
	"strings"
)

// Condition chooses rows by a column: those whose value is one of Equals, or, where
// that is empty, those that have a value at all.
type Condition struct {
	Column string   `json:"column"`
	Equals []string `json:"equals,omitempty"`
}

// holds says whether a row with this value is used.
func (c Condition) holds(value string) bool {
	value = strings.TrimSpace(value)
	if len(c.Equals) == 0 {
		return value != ""
	}
	for _, want := range c.Equals {
		if value == want {
			return true
		}
	}
	return false
}

// whereColumn is a condition on a column at its place.
type whereColumn struct {
	Condition
	at int
}

func (s Spec) whereColumns(header []string) ([]whereColumn, error) {
	var out []whereColumn
	for _, c := range s.Where {
		at := column(header, c.Column)
		if at < 0 {
			return nil, fmt.Errorf("has no column %s (where); the columns are %s",
				c.Column, strings.Join(header, ", "))
		}
		out = append(out, whereColumn{c, at})
	}
	return out, nil
}

// matches says whether all conditions hold for a row.
func matches(where []whereColumn, record []string) bool {
	for _, c := range where {
		if c.at >= len(record) || !c.holds(record[c.at]) {
			return false
		}
	}
	return true
}
