// Package spelling finds what a person who wrote a name that does not exist probably meant.
package spelling

import (
	"slices"
	"strings"
)

// Near are the known names spelt most like a word, nearest first and then in their order, n at most: those in which
// no more than about a third of the word would have to be changed. Case and _, - and blanks do not count.
func Near(word string, known []string, n int) []string {
	plain := func(s string) string {
		return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
	}
	type candidate struct {
		name     string
		distance int
	}
	var list []candidate
	for _, k := range known {
		if d := distance(plain(word), plain(k)); d <= max(1, len(word)/3) {
			list = append(list, candidate{k, d})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return a.distance - b.distance })
	var names []string
	for _, c := range list[:min(n, len(list))] {
		names = append(names, c.name)
	}
	return names
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours between two short words.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
