package inspect

import "fmt"

// findings says what needs a person's attention.
func findings(r *Report, o Options) []string {
	out := []string{}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, a := range r.Duplicates.Across {
		say("Pictures of %s that are in %s, too: %d (%.1f %%), %d as an equal file and %d that look alike. "+
			"Scores on them say nothing of new pictures.",
			a.Split, a.In, a.Exact+a.Near, 100*a.Share, a.Exact, a.Near)
	}
	if r.Bad.Share > o.MaxBadFraction {
		say("Pictures or rows that cannot be used: %d (%.1f %%), more than prepare.max_bad_fraction (%.1f %%); "+
			"a run would fail.", r.Bad.Count, 100*r.Bad.Share, 100*o.MaxBadFraction)
	}
	if t := r.Tokens; t != nil && t.Cut > 0 {
		say("Captions longer than train.max_length (%d tokens), which would be cut: %d (%.1f %%); "+
			"the longest takes %d.", t.MaxLength, t.Cut, 100*t.CutShare, t.Max)
	}
	if n := r.Identical.Within; n > 0 {
		say("Captions that repeat an earlier one of the same picture: %d.", n)
	}
	if list := r.Identical.List; len(list) > 0 && 2*list[0].Count > r.Captions {
		say("More than half of the captions are: %q.", list[0].Caption)
	}
	if r.Lettersless > 0 {
		say("Captions without a letter: %d.", r.Lettersless)
	}
	for _, s := range r.Scripts[min(1, len(r.Scripts)):] {
		if s.Captions > 0 {
			say("Captions mainly in %s letters, while most letters are %s: %d.",
				s.Script, r.Scripts[0].Script, s.Captions)
		}
	}
	if r.Vocabulary.Unkept > 0 {
		say("There are more than %d different words; of those that came later %d are not counted.",
			maxWords, r.Vocabulary.Unkept)
	}
	return out
}
