package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Settings are those of all trials, in order.
//
// Of grid, and of halving without trials, they are all combinations of the lists: keys in their order by name, the
// last one changing fastest. Otherwise they are drawn: the draw d, counted from 0, of a key is
//
//	u = ⌊first 8 bytes of SHA-256("SEED d KEY"), big-endian, / 2^11⌋ / 2^53, so that 0 ≤ u < 1
//
// and means the value ⌊u · n⌋ of a list of n, min + u · (max - min) of a range, or min · (max / min)^u with log, with
// three significant digits; of a whole number max + 1 stands for max, and what is behind the point is cut off. A draw
// that equals an earlier one is left out. So a draw depends on nothing but seed, number and key: with more trials, or
// another parameter, the values that there were stay.
//
//workflowcheck:ignore sorts the keys of its map, and draws by digests
func (s Sweep) Settings() [][]Setting {
	if s.draws() {
		return s.drawn()
	}
	all := [][]Setting{nil}
	for _, key := range s.Keys() {
		var longer [][]Setting
		for _, settings := range all {
			for _, value := range s.Parameters[key].Values {
				longer = append(longer, append(settings[:len(settings):len(settings)], Setting{key, value}))
			}
		}
		all = longer
	}
	return all
}

// drawsPerTrial bounds the search for trials that were not drawn before: of few values there may be no more.
const drawsPerTrial = 100

func (s Sweep) drawn() (all [][]Setting) {
	seen := map[string]bool{}
	most := s.Trials
	if n := s.combinations(); n <= MaxTrials && !s.hasRange() {
		most = min(most, n)
	}
	for draw := 0; len(all) < most && draw < drawsPerTrial*s.Trials; draw++ {
		var settings []Setting
		for _, key := range s.Keys() {
			settings = append(settings, Setting{key, s.Parameters[key].draw(key, uniform(s.Seed, draw, key))})
		}
		if text := SettingsText(settings); !seen[text] {
			seen[text] = true
			all = append(all, settings)
		}
	}
	return all
}

// hasRange says that a parameter is drawn from a range.
//
//workflowcheck:ignore any order of the map gives the same
func (s Sweep) hasRange() bool {
	for _, p := range s.Parameters {
		if p.Range != nil {
			return true
		}
	}
	return false
}

// uniform is the draw of a key, at least 0 and below 1.
func uniform(seed uint64, draw int, key string) float64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s", seed, draw, key))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

// draw is the value that u, at least 0 and below 1, means.
func (p Parameter) draw(key string, u float64) json.RawMessage {
	r := p.Range
	if r == nil {
		return p.Values[int(u*float64(len(p.Values)))]
	}
	whole := typeAt(reflect.TypeFor[Config](), keysAt(key)).Kind() != reflect.Float64
	most := r.Max
	if whole {
		most++
	}
	v := r.Min + u*(most-r.Min)
	if r.Log {
		v = r.Min * math.Pow(most/r.Min, u)
	}
	if whole {
		return json.RawMessage(strconv.FormatFloat(min(math.Floor(v), math.Floor(r.Max)), 'f', 0, 64))
	}
	text := strconv.FormatFloat(v, 'g', drawnDigits, 64)
	if short, err := strconv.ParseFloat(text, 64); err != nil || short < r.Min || short > r.Max {
		text = strconv.FormatFloat(min(max(v, r.Min), r.Max), 'g', -1, 64)
	}
	return json.RawMessage(text)
}

// drawnDigits are few enough that processors that compute a power differently in its last bits draw the same.
const drawnDigits = 3

// keysAt are the steps of a config key's path: dataset[0].limit has three.
func keysAt(key string) []string {
	return strings.Split(bracketIndex.ReplaceAllString(key, ".$1"), ".")
}
