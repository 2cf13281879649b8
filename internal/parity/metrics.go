package parity

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"distilvit/metrics"
)

// metricVectors is a file of metrics/. Scores are as the Python packages return
// them, from 0 to 1 (cider to 10), not × 100; any may be absent.
type metricVectors struct {
	Examples []struct {
		metrics.Prediction
		Scores map[string]float64 `json:"scores"` // of the example alone
	} `json:"examples"`
	Scores map[string]float64 `json:"scores"` // of all examples
}

// scoreKinds are the names that scores have.
var scoreKinds = map[string]*kind{
	"rouge1": rouge, "rouge2": rouge, "rougeL": rouge, "rougeLsum": rouge, "bleu1": bleu, "bleu2": bleu,
	"bleu3": bleu, "bleu4": bleu,
	"cider": cider, "rougeL_coco": rougeLCoco, "meteor": meteor, "gen_len": genLen,
}

func (r *run) metrics(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json*")) // sorted
	if err != nil {
		return err
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], ".gz")
	}
	data := r.MeteorData
	if own := filepath.Join(dir, "meteor"); data == "" && isDir(own) {
		data = own
	}
	for _, path := range slices.Compact(files) {
		var v metricVectors
		if err := readJSON(path, &v); err != nil {
			return err
		}
		if len(v.Examples) == 0 {
			return layoutf("vectors %s: no examples", path)
		}
		if err := r.scores(path, &v, data); err != nil {
			return err
		}
	}
	return nil
}

// scores compares a file's.
func (r *run) scores(path string, v *metricVectors, meteorData string) error {
	var list []metrics.Prediction
	for _, e := range v.Examples {
		list = append(list, e.Prediction)
	}
	all, each := computed(list)
	if slices.ContainsFunc(v.names(), func(name string) bool { return name == "meteor" }) {
		r.meteor(path, list, meteorData, all, each)
	}
	at := r.name(path)
	if err := r.compareScores(at+", all examples", all, v.Scores); err != nil {
		return err
	}
	for i, e := range v.Examples {
		if err := r.compareScores(fmt.Sprintf("%s, example %d", at, i), each[i], e.Scores); err != nil {
			return err
		}
	}
	return nil
}

// names of all scores in the file.
func (v *metricVectors) names() []string {
	names := map[string]bool{}
	for name := range v.Scores {
		names[name] = true
	}
	for _, e := range v.Examples {
		for name := range e.Scores {
			names[name] = true
		}
	}
	return sorted(names)
}

// computed are our scores by their names, METEOR apart.
func computed(list []metrics.Prediction) (all map[string]float64, each []map[string]float64) {
	s, _ := metrics.Score(list, metrics.RougeScoreWords)
	words := metrics.Tokenize(list, metrics.RougeScoreWords)
	bleu, bleus := metrics.Bleu(words.Candidates, words.References)
	cider, ciders := metrics.Cider(words.Candidates, words.References)
	coco, cocos := metrics.CocoRougeL(words.Candidates, words.References)
	all = map[string]float64{
		"rouge1": s.Rouge1 / 100, "rouge2": s.Rouge2 / 100, "rougeL": s.RougeL / 100,
		"rougeLsum": s.RougeLsum / 100,
		"cider":     cider, "rougeL_coco": coco, "gen_len": s.GenLen,
	}
	addBleu(all, bleu)
	for i, p := range list {
		rouge := metrics.Rouge(p.Caption, p.References, metrics.RougeScoreWords)
		one := map[string]float64{
			"rouge1": rouge.R1, "rouge2": rouge.R2, "rougeL": rouge.RL, "rougeLsum": rouge.RLsum,
			"cider": ciders[i], "rougeL_coco": cocos[i], "gen_len": float64(len(p.TokenIDs)),
		}
		addBleu(one, bleus[i])
		each = append(each, one)
	}
	return all, each
}

func addBleu(to map[string]float64, scores metrics.BleuScores) {
	for n, x := range scores {
		to[fmt.Sprintf("bleu%d", n+1)] = x
	}
}

// meteor adds METEOR's scores, or says why it cannot.
func (r *run) meteor(
	path string, list []metrics.Prediction, data string, all map[string]float64, each []map[string]float64,
) {
	row := r.table.row(meteor, "")
	if data == "" {
		row.Skipped = "needs --meteor-data"
		return
	}
	d, err := metrics.OpenMeteorData(data)
	if err != nil {
		row.fail(r.name(path), err)
		return
	}
	score, scores, err := d.Meteor(metrics.Tokenize(list, metrics.RougeScoreWords))
	if err != nil {
		row.fail(r.name(path), err)
		return
	}
	all["meteor"] = score
	for i, s := range scores {
		each[i]["meteor"] = s
	}
}

func (r *run) compareScores(at string, got, want map[string]float64) error {
	for _, name := range sorted(want) {
		k := scoreKinds[name]
		if k == nil {
			return layoutf("vectors %s: unknown score %q", at, name)
		}
		if _, ok := got[name]; ok { // METEOR may be left out
			r.table.row(k, "").near(at+", "+name, math.Abs(got[name]-want[name]), got[name], want[name])
		}
	}
	return nil
}
